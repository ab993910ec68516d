"""Query parameters: what they say in the contract's words, and how errors name them."""

import pytest
from google.protobuf import json_format

from showcause.errors import InvalidArgument
from showcause.gateway.rest_query import parameters, read_query
from showcause.v1 import service_pb2

# A query, and the same as JSON.
MEANINGS = {
    "": {},
    "version=1.0&prediction_count=3": {"version": "1.0", "prediction_count": 3},
    "input.region.x_min=1.5&input.region.x_max=2e2&input.region.y_max=.5": {
        "input": {"region": {"x_min": 1.5, "x_max": 200, "y_max": 0.5}}
    },
    "target=cat&target=3&target=-1&target=": {
        "targets": [{"label": "cat"}, {"class_index": 3}, {"class_index": -1}, {"label": ""}]
    },
    "top_k=2&target=cat&top_k=0": {"targets": [{"top_k": 2}, {"label": "cat"}, {"top_k": 0}]},
    "neuron=layer3.0.conv2": {"targets": [{"neuron": {"layer": "layer3.0.conv2"}}]},
    "neuron=a:7&neuron=b@1,2&neuron=c:0@3,4&neuron=": {
        "targets": [
            {"neuron": {"layer": "a", "channel": 7}},
            {"neuron": {"layer": "b", "place": {"row": 1, "column": 2}}},
            {"neuron": {"layer": "c", "channel": 0, "place": {"row": 3, "column": 4}}},
            {"neuron": {"layer": ""}},
        ]
    },
    "versus=dog": {"targets": [{"difference": {"versus": {"label": "dog"}}}]},
    "versus=4&target=fox": {"targets": [{"difference": {"target": {"label": "fox"}, "versus": {"class_index": 4}}}]},
    "target=0&versus=": {"targets": [{"difference": {"target": {"class_index": 0}}}]},
    "versus=": {"targets": [{"difference": {}}]},
    "method=linear_map&method=grad_cam": {"methods": [{"linear_map": {}}, {"grad_cam": {}}]},
    "linear_map.smoothing_px=21&linear_map.include_weights=true": {
        "methods": [{"linear_map": {"smoothing_px": 21, "include_weights": True}}]
    },
    "chip.layer=a&method=chip&filter_parts.part_count=0": {
        "methods": [{"chip": {"layer": "a"}}, {"filter_parts": {"part_count": 0}}]
    },
    "picture=overlay&picture=PICTURE_KIND_COLOR&picture=heat_map": {"output": {"pictures": [2, 3, 1]}},
    "output.map=true": {"output": {"map": {}}},
    "output.map=false": {"output": {}},
    "output=true": {"output": {}},
    "output=false": {},
    "output.map.dtype=float16": {"output": {"map": {"dtype": "DTYPE_FLOAT16"}}},
    "output.map.dtype=DTYPE_UINT8&output.map.width=0": {"output": {"map": {"dtype": "DTYPE_UINT8"}}},
    "output.map=true&output.map.width=64&output.map.height=48": {"output": {"map": {"width": 64, "height": 48}}},
    "output.box=true": {"output": {"box": {}}},
    "output.box.threshold=0": {"output": {"box": {"threshold": 0}}},
    "input.region=false&output.box=false&output.map=true": {"input": {}, "output": {"map": {}}},
}


def pairs(query: str) -> list[tuple[str, str]]:
    return [tuple(part.split("=", 1)) for part in query.split("&") if part]


def read(query: str, already: dict | None = None) -> service_pb2.ExplainRequest:
    message = json_format.ParseDict(already or {}, service_pb2.ExplainRequest())
    read_query(pairs(query), message)
    return message


@pytest.mark.parametrize("query", MEANINGS)
def test_what_a_query_says(query):
    assert read(query) == json_format.ParseDict(MEANINGS[query], service_pb2.ExplainRequest())


@pytest.mark.parametrize(
    ("query", "field", "allowed"),
    [
        ("tarjet=3", "tarjet", "target"),
        ("output.map.widht=3", "output.map.widht", "output.map.width"),
        ("nothing_like_it=3", "nothing_like_it", "version"),
        ("model=cat", "model", "method"),
        ("input.image=aaaa", "input.image", "input.region"),
        ("\ud800=1", r"\ud800", "version"),
        ("prediction_count=x", "prediction_count", "whole number"),
        ("prediction_count=", "prediction_count", "whole number"),
        ("prediction_count=1.0", "prediction_count", "whole number"),
        ("prediction_count=1_0", "prediction_count", "whole number"),
        ("prediction_count=3&prediction_count=3", "prediction_count", "once"),
        ("top_k=99999999999", "top_k", "32 bits"),
        ("target=99999999999999999999999", "target", "32 bits"),
        ("target=a\0b", "target", "NUL"),
        ("target=\ud800", "target", "Unicode"),
        ("input.region.x_min=nan", "input.region.x_min", "finite"),
        ("input.region.x_min=1e999", "input.region.x_min", "finite"),
        ("input.region.x_min=five", "input.region.x_min", "finite"),
        ("picture=gif", "picture", "heat_map, overlay, color"),
        ("picture=2", "picture", "overlay"),
        ("output.map.dtype=float64", "output.map.dtype", "float16"),
        ("output.map=yes", "output.map", "true, false"),
        ("output.map=false&output.map.width=3", "output.map", "nothing of it"),
        ("linear_map.include_weights=1", "linear_map.include_weights", "true, false"),
        ("linear_map.smoothing_px=a", "linear_map.smoothing_px", "whole number"),
        ("linear_map.smoothing=3", "linear_map.smoothing", "linear_map.smoothing_px"),
        ("method=magic", "method", "linear_map"),
        ("neuron=a:b", "neuron", "LAYER[:CHANNEL]"),
        ("neuron=a@1", "neuron", "@ROW,COLUMN"),
        ("neuron=a:99999999999", "neuron", "LAYER[:CHANNEL]"),
        ("versus=dog&target=cat&target=fox", "versus", "one class"),
        ("versus=dog&top_k=1", "versus", "one class"),
        ("versus=dog&versus=cat", "versus", "once"),
    ],
)
def test_what_is_wrong_is_named(query, field, allowed):
    with pytest.raises(InvalidArgument) as caught:
        read(query)
    assert caught.value.field == field
    assert allowed in caught.value.allowed
    assert caught.value.message.isascii()


def test_a_query_adds_to_a_body_and_changes_nothing_in_it():
    body = {"targets": [{"label": "cat"}], "methods": [{"linear_map": {"smoothing_px": 9}}], "output": {"map": {}}}
    found = read("target=3&linear_map.include_weights=true&output.map.dtype=uint8&picture=color&version=1", body)
    assert found == json_format.ParseDict(
        {
            "version": "1",
            "targets": [{"label": "cat"}, {"class_index": 3}],
            "methods": [{"linear_map": {"smoothing_px": 9, "include_weights": True}}],
            "output": {"map": {"dtype": "DTYPE_UINT8"}, "pictures": ["PICTURE_KIND_COLOR"]},
        },
        service_pb2.ExplainRequest(),
    )
    for query, field in {
        "linear_map.smoothing_px=9": "linear_map.smoothing_px",
        "output.map=false": "output.map",
    }.items():
        with pytest.raises(InvalidArgument) as caught:
            read(query, body)
        assert caught.value.field == field


def test_every_option_of_the_contract_has_a_parameter():
    """But for the photo, which is the body, and the model, which stands in the path."""
    names = set(parameters(service_pb2.ExplainRequest.DESCRIPTOR))
    assert set(parameters(service_pb2.PredictRequest.DESCRIPTOR)) < names
    assert set(parameters(service_pb2.ListModelsRequest.DESCRIPTOR)) == {"page_size", "page_token"}
    assert set(parameters(service_pb2.GetModelRequest.DESCRIPTOR)) == {"version"}

    def leaves(message, prefix=""):
        for field in message.fields:
            inner = field.message_type and field.message_type.fields
            yield from leaves(field.message_type, f"{prefix}{field.name}.") if inner else [prefix + field.name]

    elsewhere = ("model", "input.image", "input.tensor", "targets", "output.pictures", "methods")
    spelled = {name for name in leaves(service_pb2.ExplainRequest.DESCRIPTOR) if not name.startswith(elsewhere)}
    methods = service_pb2.ExplainRequest.DESCRIPTOR.fields_by_name["methods"].message_type
    spelled |= {name for name in leaves(methods) if "." in name}
    short = {"target", "top_k", "neuron", "versus", "method", "picture"}
    asked = {"input.region", "output", "output.map", "output.box"}
    assert names == spelled | short | asked
