"""openapi.json says what the gateway does: its schemas take what is read, and refuse what is refused."""

import base64
import json

import pytest
from google.protobuf import json_format
from jsonschema import Draft202012Validator
from starlette.routing import Route

from showcause.gateway import rest_docs
from showcause.gateway.rest import HTTP_STATUS, make_app
from showcause.gateway.rest_query import parameters
from showcause.v1 import service_pb2
from tests.gateway.test_rest_http import PHOTO, answer
from tests.gateway.test_rest_json import WRONG
from tests.gateway.test_rest_query import MEANINGS

API = json.loads((rest_docs.HERE / "openapi.json").read_text("utf-8"))
PHOTO_INPUT = {"image": base64.b64encode(PHOTO).decode()}
# What no schema can say: how long base64 can be, which number is finite, and that camelCase is another spelling.
BEYOND_SCHEMAS = ('"aaaaa"', '"aa==aa=="', "9" * 400, "predictionCount", "ud800")
OUT_OF_RANGE = ("top_k=0", "part_count=0", "target=-1&target=")  # read by the gateway, refused by the worker


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": API["components"]})


def for_a_schema(body: str) -> bool:
    """JSON, with each key once, not too much of it, and not beyond schemas."""
    try:
        json.loads(body, parse_constant=int)
    except (ValueError, RecursionError):
        return False
    return WRONG[body][1] not in ("twice", "photo not counted") and not any(mark in body for mark in BEYOND_SCHEMAS)


@pytest.mark.parametrize("query", [query for query in MEANINGS if not query.endswith(OUT_OF_RANGE)])
def test_what_is_read_fits_the_schema(query):
    wanted = json_format.ParseDict(MEANINGS[query], service_pb2.ExplainRequest())
    for body in (MEANINGS[query], json_format.MessageToDict(wanted, preserving_proto_field_name=True)):
        validator("request.ExplainRequest").validate(body | {"input": PHOTO_INPUT | body.get("input", {})})


@pytest.mark.parametrize("body", [body for body in WRONG if for_a_schema(body)], ids=lambda body: body[:40])
def test_what_is_refused_does_not(body):
    table = json.loads(body)
    if isinstance(table, dict):
        table = {"input": PHOTO_INPUT} | table
    assert not validator("request.ExplainRequest").is_valid(table)


@pytest.mark.parametrize(
    "body", [{}, {"input": {}}, {"input": None}, {"input": PHOTO_INPUT, "targets": [{}]}, {"input": {"image": None}}]
)
def test_what_no_request_can_do_without(body):
    assert not validator("request.ExplainRequest").is_valid(body)


def test_other_spellings_fit():
    for body in (
        {"input": {"image": "-_8", "tensor": None}, "targets": None, "prediction_count": "3"},
        {"input": {"tensor": {"shape": [3, "2", 2], "dtype": 1, "data": ""}}, "model": None},
        {"input": PHOTO_INPUT, "targets": [{"label": None, "class_index": 3}], "output": {"pictures": [1]}},
    ):
        validator("request.ExplainRequest").validate(body)


def test_a_reply_fits_and_nothing_beside_it():
    sent = json_format.MessageToDict(
        answer(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for explanation in sent["explanations"]:
        explanation["target"] = {"class_target": {"index": 0, "label": "cat"}}
    reply = validator("reply.ExplainResponse")
    reply.validate(sent)
    assert not reply.is_valid(sent | {"more": 1})
    assert not reply.is_valid({name: value for name, value in sent.items() if name != "request_id"})


def test_ranges_are_those_of_the_comments():
    schemas = API["components"]["schemas"]
    limits = ("minimum", "maximum", "exclusiveMaximum")

    def said(name: str, field: str) -> tuple:
        return tuple(schemas[name]["properties"][field].get(limit) for limit in limits)

    assert said("request.MapOptions", "width") == (0, 4096, None)
    assert said("request.Target", "top_k") == (1, 16, None)
    assert said("request.BoxOptions", "threshold") == (0, None, 1)
    assert said("request.LinearMap", "opacity_percentile") == (0, 100, None)
    assert said("request.Rectangle", "x_min") == (None, None, None)


def test_every_route_parameter_and_status_is_told():
    routes = {route.path.replace(":name}", "}") for route in make_app(None).routes if isinstance(route, Route)}
    assert set(API["paths"]) == routes - {"/", "/docs", "/openapi.json"}
    told = API["paths"]["/v1/models/{model}:explain"]["post"]
    query = [one["name"] for one in told["parameters"] if one["in"] == "query"]
    assert query == list(parameters(service_pb2.ExplainRequest.DESCRIPTOR))
    assert set(told["responses"]) == {str(status) for status in HTTP_STATUS.values()} | {
        "200",
        "405",
        "406",
        "413",
        "415",
    }


def test_every_field_is_described():
    for name, schema in API["components"]["schemas"].items():
        assert schema["description"].strip(), name
        for field, told in schema.get("properties", {}).items():
            assert told.get("description") or "const" in told, f"{name}.{field}"
