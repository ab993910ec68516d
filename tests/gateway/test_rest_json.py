"""JSON bodies: read as protobuf's own reader would, and refused by name where they are wrong."""

import base64
import json
import random

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as F

from showcause.errors import InvalidArgument
from showcause.gateway.rest_json import READERS, read_json, scalar
from showcause.v1 import input_pb2, method_pb2, service_pb2

MOST_BYTES = 100_000
WHOLE = (0, 1, -1, 7, (1 << 31) - 1, -(1 << 31))


def read(data: bytes | str | dict) -> service_pb2.ExplainRequest:
    text = json.dumps(data) if isinstance(data, dict) else data
    message = service_pb2.ExplainRequest()
    read_json(text if isinstance(text, bytes) else text.encode(), message, MOST_BYTES)
    return message


def fill(message, choose: random.Random):
    """Some of the fields, at random."""
    for field in message.DESCRIPTOR.fields:
        if choose.random() < 0.4:
            continue
        values = {
            F.TYPE_INT32: WHOLE,
            F.TYPE_DOUBLE: (0.0, -0.5, 1e300, 3.0),
            F.TYPE_BOOL: (True, False),
            F.TYPE_STRING: ("", "cat", "Füchse \N{FOX FACE}", '"\\'),
            F.TYPE_BYTES: (b"", b"\xff\xfe\xfb\xef", choose.randbytes(5)),
            F.TYPE_ENUM: (1, 2, 3, 77),
        }.get(field.type)
        if field.is_repeated and values:
            getattr(message, field.name).extend(choose.choices(values, k=3))
        elif field.is_repeated:
            for _ in range(choose.randrange(3)):
                fill(getattr(message, field.name).add(), choose)
        elif values:
            setattr(message, field.name, choose.choice(values))
        else:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), choose)
    return message


@pytest.mark.parametrize("seed", range(60))
def test_what_protobuf_writes_is_read_back(seed):
    sent = fill(service_pb2.ExplainRequest(), random.Random(seed))
    for options in ({"preserving_proto_field_name": True}, {}, {"use_integers_for_enums": True}):
        assert read(json_format.MessageToJson(sent, **options)) == sent


def test_other_spellings_of_the_same():
    wanted = read({"prediction_count": 3, "output": {"map": {"dtype": "DTYPE_UINT8"}}, "input": {"image": "+/8="}})
    assert wanted.input.image == b"\xfb\xff"
    assert read({"predictionCount": "3", "output": {"map": {"dtype": 3}}, "input": {"image": "-_8"}}) == wanted
    assert (
        read({"prediction_count": 3.0, "output": {"map": {"dtype": "3"}}, "input": {"image": "+/\r\n8=\n"}}) == wanted
    )
    assert read({"model": None, "targets": None, "output": {"map": None, "box": None}}) == read({"output": {}})
    assert read({"targets": [{"label": None, "class_index": "4"}]}) == read({"targets": [{"class_index": 4}]})
    assert read({"input": {"region": {"x_min": "1e1"}}}) == read({"input": {"region": {"x_min": 10}}})


LONG = "x" * 1000
WRONG = {
    "{": ("body", "not JSON"),
    "": ("body", "not JSON"),
    "[]": ("body", "not an object"),
    "7": ("body", "not an object"),
    "null": ("body", "not an object"),
    '"text"': ("body", "not an object"),
    "[" * 10_000 + "]" * 10_000: ("body", "recursion"),
    '{"output": ' * 8_000 + "1" + "}" * 8_000: ("body", "recursion"),
    '{"output": ' * 100 + "1" + "}" * 100: ("output.output", "no such field"),
    '{"targets": [' + "[" * 900 + "]" * 900 + "]}": ("targets[0]", "not an object"),
    '{"model": "a", "model": "b"}': ("body", "twice"),
    '{"input": {"image": "aaaa", "image": "bbbb"}}': ("body", "twice"),
    '{"prediction_count": 1, "predictionCount": 1}': ("prediction_count", "one of prediction_count"),
    '{"prediction_count": NaN}': ("body", "NaN"),
    '{"input": {"region": {"x_min": -Infinity}}}': ("body", "Infinity"),
    '{"input": {"region": {"x_min": 1e400}}}': ("input.region.x_min", "finite"),
    '{"input": {"region": {"x_min": "NaN"}}}': ("input.region.x_min", "finite"),
    '{"input": {"region": {"x_min": ' + "9" * 400 + "}}}": ("input.region.x_min", "finite"),
    '{"prediction_count": ' + "9" * 100 + "}": ("prediction_count", "32 bits"),
    '{"prediction_count": ' + "9" * 5000 + "}": ("body", "digits"),
    '{"prediction_count": 1e300}': ("prediction_count", "32 bits"),
    '{"prediction_count": 1.5}': ("prediction_count", "32 bits"),
    '{"prediction_count": true}': ("prediction_count", "got 'true'"),
    '{"prediction_count": "1_000"}': ("prediction_count", "32 bits"),
    '{"prediction_count": " 1"}': ("prediction_count", "32 bits"),
    '{"prediction_count": "\N{ARABIC-INDIC DIGIT ONE}"}': ("prediction_count", "32 bits"),
    '{"prediction_count": {}}': ("prediction_count", "an object"),
    '{"model": 5}': ("model", "text"),
    '{"targets": [{"label": "\\ud800"}]}': ("targets[0].label", "Unicode"),
    '{"targets": [{"label": "a\\u0000b"}]}': ("targets[0].label", "NUL"),
    '{"\\ud800": 1}': (r"\ud800", "no such field"),
    '{"a\\u0000b": 1}': (r"a\x00b", "no such field"),
    f'{{"{LONG}": 1}}': ("x" * 100, "no such field"),
    '{"targets": {}}': ("targets", "a list"),
    '{"targets": [null]}': ("targets[0]", "not an object"),
    '{"targets": [{"label": "a"}, {"labl": "b"}]}': ("targets[1].labl", "class_index, label"),
    '{"targets": [{"label": "a", "top_k": 2}]}': ("targets[0].top_k", "one of class_index, label"),
    '{"methods": [{"magic": {}}]}': ("methods[0].magic", "linear_map"),
    '{"methods": [{"linear_map": []}]}': ("methods[0].linear_map", "a list"),
    '{"methods": [{"cam": {"layer": "a"}}]}': ("methods[0].cam.layer", "empty"),
    '{"methods": [{"linear_map": {"include_weights": "true"}}]}': (
        "methods[0].linear_map.include_weights", "true or false"
    ),
    '{"input": []}': ("input", "not an object"),
    '{"input": ""}': ("input", "not an object"),
    '{"input": {"image": 5}}': ("input.image", "base64"),
    '{"input": {"image": "not base64!"}}': ("input.image", "base64"),
    '{"input": {"image": "aaaaa"}}': ("input.image", "base64"),
    '{"input": {"image": "aa==aa=="}}': ("input.image", "base64"),
    '{"input": {"image": "a\\ud800aa"}}': ("input.image", "base64"),
    '{"input": {"image": "aaaa", "tensor": {}}}': ("input.tensor", "one of image, tensor"),
    '{"output": {"pictures": ["COLOR"]}}': ("output.pictures[0]", "PICTURE_KIND_COLOR"),
    '{"output": {"pictures": [1.5]}}': ("output.pictures[0]", "PICTURE_KIND_COLOR"),
    '{"output": {"pictures": [null]}}': ("output.pictures[0]", "got 'null'"),
    '{"output": {"map": {"dtype": 99999999999}}}': ("output.map.dtype", "DTYPE_FLOAT16"),
    '{"targets": [' + '{"top_k": 1},' * 20_000 + '{"top_k": 1}]}': ("body", "photo not counted"),
}  # fmt: skip


@pytest.mark.parametrize("body", WRONG, ids=lambda body: body[:40])
def test_what_is_wrong_is_named(body):
    field, part = WRONG[body]
    with pytest.raises(InvalidArgument) as caught:
        read(body.encode())
    assert caught.value.field == field
    assert part in caught.value.message
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 1500


def test_only_utf_8_is_read():
    for data in (b"\xff\xfe", '{"model": "a"}'.encode("utf-16"), b'{"model": "\xe9"}', b"\xef\xbb\xbf{}"):
        with pytest.raises(InvalidArgument, match="not JSON"):
            read(data)


def test_a_photo_of_megabytes_counts_apart():
    image = base64.b64encode(bytes(3_000_000)).decode()
    assert len(read({"input": {"image": image}}).input.image) == 3_000_000
    assert len(read({"input": {"tensor": {"data": image}}}).input.tensor.data) == 3_000_000
    escaped = json.dumps({"input": {"image": image}}).replace("AAAA", "A\\/A\\n", 1000).encode()
    assert len(read(escaped).input.image) > 2_990_000, "escapes and line breaks count as the photo"
    with pytest.raises(InvalidArgument, match="photo not counted"):
        read({"input": {"image": image}, "targets": [{}] * 100_000})


@pytest.mark.parametrize("text", ["1" * 1_000_000 + "!", "." * 1_000_000 + "!", "1e" * 500_000 + "!", "A" * 1_000_001])
@pytest.mark.parametrize("name", ["DOUBLE", "INT32", "BYTES", "ENUM"])
def test_long_texts_are_refused_at_once(text, name):
    """No pattern goes over a text again and again: that would take hours."""
    messages = (service_pb2.ExplainRequest, method_pb2.LinearMap, input_pb2.Input, input_pb2.Tensor)
    fields = [field for message in messages for field in message.DESCRIPTOR.fields]
    with pytest.raises(InvalidArgument):
        scalar(next(field for field in fields if field.type == getattr(F, f"TYPE_{name}")), text, "x")


def test_every_type_of_field_in_a_request_is_read():
    pending, seen = [service_pb2.ExplainRequest.DESCRIPTOR, service_pb2.PredictRequest.DESCRIPTOR], set()
    while pending:
        message = pending.pop()
        seen.add(message.full_name)
        for field in message.fields:
            if field.message_type is None:
                assert field.type in READERS, field.full_name
            elif field.message_type.full_name not in seen:
                pending.append(field.message_type)
