"""A table of bad requests: over gRPC and REST the same error, with field, value and what is allowed."""

import base64
from collections.abc import Callable

import httpx
import numpy as np
import pytest
import skimage.data
from google.protobuf import json_format
from PIL import Image

from showcause.client.calls import explain_request
from showcause.errors import ShowcauseError, from_rpc_error
from showcause.v1 import service_pb2
from showcause.v1.service_pb2_grpc import ExplanationServiceStub
from tests import hostile_images

grpc = pytest.importorskip("grpc")


def photo_instead(data: bytes):
    def change(request: service_pb2.ExplainRequest) -> None:
        request.input.image = data

    return change


def cut_photo(request: service_pb2.ExplainRequest) -> None:
    request.input.image = request.input.image[:3000]


def no_input(request: service_pb2.ExplainRequest) -> None:
    request.ClearField("input")


def many_targets(request: service_pb2.ExplainRequest) -> None:
    for _ in range(5000):
        request.targets.add(class_index=1)


def tensor(change: Callable[[np.ndarray], np.ndarray], dtype: int = 1):
    """A good tensor, changed."""
    good = np.random.default_rng(0).random((3, 128, 128), dtype=np.float32)

    def put(request: service_pb2.ExplainRequest) -> None:
        request.input.tensor.shape.extend(good.shape)
        request.input.tensor.dtype = dtype
        changed = change(good)
        request.input.tensor.data = (changed if dtype != 1 else changed.astype("<f4")).tobytes()

    return put


def merged(text: str):
    def change(request: service_pb2.ExplainRequest) -> None:
        json_format.Parse(text, request)

    return change


# name: (what is done to a good request, code, reason, field, part of the message: most often of what is allowed)
CASES = {
    "not an image": (photo_instead(b"GIF? no."), "INVALID_ARGUMENT", "IMAGE_NOT_DECODABLE", "input.image", "JPEG"),
    "cut off": (cut_photo, "INVALID_ARGUMENT", "IMAGE_NOT_DECODABLE", "input.image", "whole"),
    "no bytes": (photo_instead(b""), "INVALID_ARGUMENT", "INPUT_MISSING", "input.image", "JPEG"),
    "no input": (no_input, "INVALID_ARGUMENT", "INPUT_MISSING", "input.image", "tensor"),
    "too many bytes": (
        photo_instead(bytes(3_000_001)), "INVALID_ARGUMENT", "INPUT_TOO_LARGE", "input.image", "at most 3000000 bytes"
    ),
    "unknown version": (merged('{"version": "9.9"}'), "NOT_FOUND", "MODEL_NOT_FOUND", "version", "1.0"),
    "unknown label": (
        merged('{"targets": [{"label": "unicorn"}]}'), "NOT_FOUND", "LABEL_NOT_FOUND", "targets[0].label", "zebra"
    ),
    "class index 30": (
        merged('{"targets": [{"class_index": 1}, {"class_index": 30}]}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "targets[1].class_index", "0 to 29",
    ),
    "class index -1": (
        merged('{"targets": [{"class_index": -1}]}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "targets[0].class_index", "0 to 29",
    ),
    "top 0": (merged('{"targets": [{"top_k": 0}]}'), "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE",
              "targets[0].top_k", "1 to 16"),
    "top 10^9": (merged('{"targets": [{"top_k": 1000000000}]}'), "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE",
                 "targets[0].top_k", "1 to 16"),
    "5,000 targets": (many_targets, "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "targets", "at most 16"),
    "too many targets": (
        merged('{"targets": [{"top_k": 16}, {"class_index": 1}]}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "targets", "at most 16",
    ),
    "unknown layer": (
        merged('{"targets": [{"neuron": {"layer": "features.99"}}]}'),
        "NOT_FOUND", "LAYER_NOT_FOUND", "targets[0].neuron.layer", "features.9",
    ),
    "unknown channel": (
        merged('{"targets": [{"neuron": {"layer": "features.0", "channel": 64}}]}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "targets[0].neuron.channel", "0 to 63",
    ),
    "place beside the grid": (
        merged('{"targets": [{"neuron": {"layer": "features.0", "place": {"row": 3, "column": 128}}}]}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "targets[0].neuron.place.column", "0 to 127",
    ),
    "a class against itself": (
        merged('{"targets": [{"difference": {"target": {"label": "cat"}, "versus": {"class_index": 5}}}]}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "targets[0].difference.versus", "another class",
    ),
    "difference with an unknown class": (
        merged('{"targets": [{"difference": {"versus": {"label": "unicorn"}}}]}'),
        "NOT_FOUND", "LABEL_NOT_FOUND", "targets[0].difference.versus.label", "zebra",
    ),
    "method of another kind": (
        merged('{"methods": [{"cam": {}}]}'),
        "FAILED_PRECONDITION", "METHOD_NOT_AVAILABLE", "methods[0]", "linear_map",
    ),
    "chip where nothing was distilled": (
        merged('{"methods": [{"chip": {}}]}'),
        "FAILED_PRECONDITION", "METHOD_NOT_AVAILABLE", "methods[0]", "linear_map",
    ),
    "grad_cam of an unknown layer": (
        merged('{"methods": [{"grad_cam": {"layer": "features.99"}}]}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "methods[0].grad_cam.layer", "features.9",
    ),
    "grad_cam of a unit inside": (
        merged('{"methods": [{"grad_cam": {}}], "targets": [{"neuron": {"layer": "features.9"}}]}'),
        "FAILED_PRECONDITION", "METHOD_NOT_AVAILABLE", "targets[0].neuron", "class_index",
    ),
    "empty method": (merged('{"methods": [{}]}'), "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "methods[0]", "linear"),
    "method twice": (
        merged('{"methods": [{"linear_map": {}}, {"linear_map": {}}]}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "methods[1]", "once",
    ),
    "even smoothing": (
        merged('{"methods": [{"linear_map": {"smoothing_px": 4}}]}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "methods[0].linear_map.smoothing_px", "odd",
    ),
    "region beside the photo": (
        merged('{"input": {"region": {"x_min": 900, "x_max": 950, "y_max": 10}}}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.region", "0..451",
    ),
    "100 predictions": (
        merged('{"prediction_count": 100}'), "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "prediction_count", "1 to 30"
    ),
    "half a map size": (
        merged('{"output": {"map": {"width": 5}}}'), "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "output.map", "both"
    ),
    "picture twice": (
        merged('{"output": {"pictures": ["PICTURE_KIND_COLOR", "PICTURE_KIND_COLOR"]}}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "output.pictures", "once",
    ),
    "box of threshold 1": (
        merged('{"output": {"box": {"threshold": 1.0}}}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "output.box.threshold", "below 1",
    ),
    "region with a tensor": (
        merged('{"input": {"tensor": {"shape": [3]}, "region": {"x_max": 5, "y_max": 5}}}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.region", "photo",
    ),
    "a gigabyte of maps": (
        merged('{"targets": [{"top_k": 16}], "output": {"map": {"width": 4096, "height": 4096}}}'),
        "INVALID_ARGUMENT", "REPLY_TOO_LARGE", "output", "67108864 bytes",
    ),
    "tensor of an unknown type": (
        merged('{"input": {"tensor": {"dtype": 99, "shape": [3, 2, 2]}}}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.tensor.dtype", "float32",
    ),
    "tensor of halves": (
        tensor(lambda values: values.astype("<f2"), dtype=2),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.tensor.dtype", "float32",
    ),
    "tensor that is cut off": (
        tensor(lambda values: values[:, 1:]),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.tensor.data", "196608 bytes",
    ),
    "tensor with a NaN": (
        tensor(lambda values: np.where(values == values.flat[7], np.nan, values)),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.tensor.data", "0..1",
    ),
    "tensor with an infinity": (
        tensor(lambda values: np.where(values == values.flat[7], np.inf, values)),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.tensor.data", "0..1",
    ),
    "tensor from 0 to 255": (
        tensor(lambda values: values * 255),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.tensor.data", "0..1",
    ),
    "tensor without a photo in it": (
        merged('{"input": {"tensor": {"shape": [0, 3, 128, 128]}}}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.tensor.shape", "(3, 128, 128)",
    ),
    "tensor of a negative shape": (
        merged('{"input": {"tensor": {"shape": [-3, 128, -128]}}}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.tensor.shape", "(3, 128, 128)",
    ),
    "tensor of another shape": (
        merged('{"input": {"tensor": {"shape": [3, 2, 2], "data": ""}}}'),
        "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", "input.tensor.shape", "(3, ",
    ),
}  # fmt: skip
CAT = Image.fromarray(skimage.data.chelsea())
for name, (data, reason, message) in hostile_images.refused(CAT).items():
    CASES[name] = (photo_instead(data), "INVALID_ARGUMENT", reason, "input.image", message)
ACCEPTED = hostile_images.accepted(CAT)
STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "FAILED_PRECONDITION": 400}


@pytest.mark.parametrize("name", CASES)
def test_bad_request_over_grpc_and_rest(name, service, client, photo):
    change, code, reason, field, allowed = CASES[name]
    request = explain_request(photo, model="animals-bcos")
    change(request)
    operations = ["Explain"]
    if field.startswith(("input", "prediction_count", "version")):  # what both requests have
        operations.append("Predict")
    for operation in operations:
        message = request if operation == "Explain" else service_pb2.PredictRequest(
            model=request.model, version=request.version, input=request.input, prediction_count=request.prediction_count
        )  # fmt: skip
        with grpc.insecure_channel(service.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
            getattr(ExplanationServiceStub(channel), operation)(message, timeout=60)
        assert caught.value.code().name == code
        error: ShowcauseError = from_rpc_error(caught.value)
        assert (error.code_name, error.reason, error.field) == (code, reason, field)
        assert allowed in error.message
        assert error.field in error.message
        assert error.value or name in ("no bytes", "no input")

        body = json_format.MessageToDict(message, preserving_proto_field_name=True)
        url = f"{service.rest}/v1/models/animals-bcos:{operation.lower()}"
        response = httpx.post(url, json=body, timeout=60)
        problem = response.json()
        assert response.headers["content-type"] == "application/problem+json"
        assert response.status_code == problem["status"] == (413 if reason == "INPUT_TOO_LARGE" else STATUS[code])
        assert (problem["title"], problem["reason"], problem["field"]) == (code, reason, field)
        assert problem["detail"] == error.message
    assert client.predict(photo).predictions, "the service goes on"


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_photos_are_explained_over_grpc_and_rest(name, service, client):
    reply = client.explain(ACCEPTED[name], pictures=["overlay"])
    assert reply.explanation.residual.relative < 1e-3
    url = f"{service.rest}/v1/models/animals-bcos:explain"
    response = httpx.post(url, content=ACCEPTED[name], headers={"content-type": "application/octet-stream"}, timeout=60)
    again = json_format.ParseDict(response.json(), service_pb2.ExplainResponse())
    assert [p.label for p in again.predictions] == [p.label for p in reply.predictions]
    assert (again.frame.photo_width, again.frame.photo_height) == (reply.frame.photo_width, reply.frame.photo_height)


def test_a_field_that_a_newer_client_knows_is_passed_over(client, service, photo):
    """Over gRPC, as protobuf means it; JSON refuses what it does not know."""
    newer = explain_request(photo).SerializeToString() + b"\xfa\x3f\x03new"  # field 1023
    with grpc.insecure_channel(service.grpc) as channel:
        answer = channel.unary_unary("/showcause.v1.ExplanationService/Explain")(newer, timeout=60)
    found = service_pb2.ExplainResponse.FromString(answer)
    assert found.predictions[0].label == client.predict(photo).predictions[0].label


def test_a_stream_without_photos_ends_at_once(client):
    assert list(client.explain_stream([])) == []


def test_unknown_methods_and_fields(service, photo):
    """A method that the contract does not have: JSON and the query name it; protobuf's bytes hold an empty method."""
    url, kind = f"{service.rest}/v1/models/animals-bcos:explain", {"content-type": "image/jpeg"}
    by_query = httpx.post(f"{url}?method=magic", content=photo, headers=kind).json()
    assert (by_query["field"], by_query["value"], by_query["status"]) == ("method", "magic", 400)
    by_json = httpx.post(url, json={"methods": [{"magic": {}}]}).json()
    assert (by_json["reason"], by_json["field"]) == ("REQUEST_MALFORMED", "methods[0].magic")
    assert "linear_map" in by_json["allowed"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_raw_photo_over_the_limit(service, chunked):
    data = bytes(3_000_001)
    content = (data[start : start + 65536] for start in range(0, len(data), 65536)) if chunked else data
    url = f"{service.rest}/v1/models/animals-bcos:explain"
    problem = httpx.post(url, content=content, headers={"content-type": "image/jpeg"}).json()
    assert (problem["reason"], problem["field"]) == ("INPUT_TOO_LARGE", "input.image")
    assert problem["allowed"] == "at most 3000000 bytes"


def test_a_message_over_grpc_s_own_limit(service):
    with grpc.insecure_channel(service.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        ExplanationServiceStub(channel).Explain(explain_request(bytes(34 << 20)), timeout=60)
    error = from_rpc_error(caught.value)
    assert error.code_name == "RESOURCE_EXHAUSTED"


def test_unknown_model(service, photo):
    request = explain_request(photo, model="animal-bcos")
    with grpc.insecure_channel(service.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        ExplanationServiceStub(channel).Explain(request)
    error = from_rpc_error(caught.value)
    assert (error.code_name, error.reason, error.field) == ("NOT_FOUND", "MODEL_NOT_FOUND", "model")
    assert error.allowed == "animals-bcos"
    kind = {"content-type": "image/jpeg"}
    problem = httpx.post(f"{service.rest}/v1/models/animal-bcos:explain", content=photo, headers=kind).json()
    assert (problem["status"], problem["allowed"]) == (404, "animals-bcos")
    nowhere = httpx.get(f"{service.rest}/v2/models")
    assert (nowhere.status_code, nowhere.headers["content-type"]) == (404, "application/problem+json")


def test_neighbours_of_bad_requests_are_answered(client, photo):
    """Good and bad requests at the same time, so that they meet in batches."""
    from concurrent.futures import ThreadPoolExecutor

    def ask(n: int) -> str:
        try:
            return client.explain(photo if n % 2 else photo[: 1000 + n], target=n % 30).predictions[0].label
        except ShowcauseError as error:
            return error.reason

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(ask, range(48)))
    label = client.predict(photo).predictions[0].label
    assert outcomes == [label if n % 2 else "IMAGE_NOT_DECODABLE" for n in range(48)]


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        (b"{", "application/json", "body"),
        (b'{"nothing": 1}', "application/json", "nothing"),
        (b'{"model": "other"}', "application/json", "model"),
        (b"[" * 5000 + b"]" * 5000, "application/json", "body"),
        (b"\xff\xfe", "application/json", "body"),
        (b"x", "text/plain", "content-type"),
        (base64.b64encode(b"x"), "", "content-type"),
    ],
)
def test_rest_bodies_that_cannot_be_read(service, body, kind, field):
    response = httpx.post(
        f"{service.rest}/v1/models/animals-bcos:explain", content=body, headers={"content-type": kind}
    )
    assert response.status_code == (415 if field == "content-type" else 400)
    assert response.json()["field"] == field
    assert response.json()["reason"] in ("REQUEST_MALFORMED", "PARAMETER_OUT_OF_RANGE")


@pytest.mark.parametrize(
    ("query", "field"),
    [("tarjet=3", "tarjet"), ("prediction_count=x", "prediction_count"), ("picture=gif", "picture"),
     ("method=magic", "method"), ("top_k=99999999999", "top_k"), ("target=99", "targets[0].class_index"),
     ("target=--3", "targets[0].label")],
)  # fmt: skip
def test_rest_queries_that_mean_nothing(service, photo, query, field):
    url = f"{service.rest}/v1/models/animals-bcos:explain?{query}"
    response = httpx.post(url, content=photo, headers={"content-type": "image/jpeg"})
    assert response.status_code in (400, 404)
    assert response.json()["field"] == field


def test_grpc_bytes_that_are_no_message(service):
    with grpc.insecure_channel(service.grpc) as channel:
        call = channel.unary_unary("/showcause.v1.ExplanationService/Explain")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff\xff")
    assert from_rpc_error(caught.value).reason == "REQUEST_MALFORMED"


def test_a_deadline_that_is_too_short_ends_the_call_and_nothing_else(client, service, photo):
    """The worker computes nothing for it: 30 late requests do not hold up the next one."""
    with grpc.insecure_channel(service.grpc) as channel:
        stub = ExplanationServiceStub(channel)
        request = explain_request(photo, top_k=16)
        late = [stub.Explain.future(request, timeout=0.05) for _ in range(30)]
        assert {call.code() for call in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert client.predict(photo).predictions
