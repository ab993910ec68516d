"""REST against the running service: whatever the way in and the way out, the same answer as over gRPC."""

import base64
import io
import json
import shutil
import subprocess

import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from openapi_spec_validator import validate

from showcause import Difference, Neuron
from showcause.v1 import service_pb2
from showcause.wire import read_reply
from tests.sameness import assert_same, close

MODEL = "/v1/models/animals-bcos"
RAW = {"content-type": "image/jpeg"}
NPZ = {"accept": "application/x-npz"}
CHANNELS = "curl 'http://localhost:8080/v1/models/animals-cnn/channels?label=cat'"


@pytest.fixture
def post(service):
    def ask(path: str, **options) -> httpx.Response:
        response = httpx.post(f"{service.rest}{MODEL}{path}", timeout=60, **options)
        assert response.status_code == 200, response.text
        return response

    return ask


def reply_of(response: httpx.Response):
    return read_reply(json_format.ParseDict(response.json(), service_pb2.ExplainResponse()))


# A query, and the arguments of the client that ask for the same.
OPTIONS = {
    "": {"map_dtype": "float32"},
    "target=cat&target=3&prediction_count=2": {"target": ["cat", 3], "prediction_count": 2},
    "top_k=2&output.map=true&picture=overlay&picture=color": {"top_k": 2, "pictures": ["overlay", "color"]},
    "target=cat&picture=heat_map": {"target": "cat", "pictures": ["heat_map"], "map_dtype": None},
    "output.map.dtype=float16&output.map.width=20&output.map.height=10": {
        "map_dtype": "float16", "map_size": (20, 10)
    },
    "input.region.x_min=20&input.region.y_min=10&input.region.x_max=300&input.region.y_max=200": {
        "region": (20, 10, 300, 200)
    },
    "target=cat&versus=7": {"target": Difference("cat", 7)},
    "versus=": {"target": Difference()},
    "neuron=features.11:3@1,2&neuron=features.5": {"target": [Neuron("features.11", 3, (1, 2)), Neuron("features.5")]},
    "linear_map.include_weights=true&target=0": {"weights": True, "target": 0, "map_dtype": "float32"},
}  # fmt: skip


@pytest.mark.parametrize("query", OPTIONS)
def test_a_query_is_answered_like_the_same_request_over_grpc(query, post, client, photo):
    found = post(f":explain?{query}", content=photo, headers=RAW)
    assert_same(reply_of(found), client.explain(photo, **OPTIONS[query]))


def test_a_form_and_json_are_answered_like_a_raw_photo(post, client, photo):
    wanted = client.explain(photo, target="cat", pictures=["overlay"])
    wishes = {
        "targets": [{"label": "cat"}],
        "output": {"map": {}, "pictures": ["PICTURE_KIND_OVERLAY"]},
    }
    query = {"target": "cat", "output.map": "true", "picture": "overlay"}
    files = {"photo": ("cat.jpg", photo, "image/jpeg")}
    body = wishes | {"input": {"image": base64.b64encode(photo).decode()}}
    for ask in (
        {"content": photo, "headers": RAW, "params": query},
        {"files": files, "data": query},
        {"files": files, "data": {"request": json.dumps(wishes)}},
        {"json": body},
    ):
        assert_same(reply_of(post(":explain", **ask)), wanted)
    predicted = post(":predict", files=files, data={"prediction_count": "3"}).json()["predictions"]
    assert [one["label"] for one in predicted] == [one.label for one in client.predict(photo).predictions[:3]]


def test_npz_holds_what_grpc_sends(post, client, photo):
    wanted = client.explain(photo, top_k=2, weights=True)
    query = "?top_k=2&linear_map.include_weights=true"
    response = post(f":explain{query}", content=photo, headers=RAW | NPZ)
    found = np.load(io.BytesIO(response.content), allow_pickle=False)
    for position, explanation in enumerate(wanted.explanations):
        assert close(found[f"map_{position}"], explanation.map)
        assert close(found[f"weights_{position}"], explanation.weights)
    reply = json.loads(found["reply"].tobytes())
    assert [one["label"] for one in reply["predictions"]] == [one.label for one in wanted.predictions]
    assert reply["explanations"][0]["evidence"][0]["residual"]["relative_residual"] < 1e-4


def test_the_limit_on_bytes_holds_in_a_form(service):
    files = {"photo": ("cat.jpg", bytes(3_000_001))}
    problem = httpx.post(f"{service.rest}{MODEL}:explain", files=files, timeout=60).json()
    assert (problem["reason"], problem["field"]) == ("INPUT_TOO_LARGE", "input.image")


def test_errors_name_what_was_sent_in_the_query(service, photo):
    for query, field in {"target=99": "targets[0].class_index", "linear_map.smoothing_px=4": "smoothing_px"}.items():
        problem = httpx.post(f"{service.rest}{MODEL}:explain?{query}", content=photo, headers=RAW).json()
        assert problem["status"] == 400
        assert problem["field"].endswith(field)


def test_the_description_is_served_and_valid(service):
    response = httpx.get(f"{service.rest}/openapi.json")
    assert response.headers["content-type"] == "application/json"
    validate(response.json())


def test_the_page_is_served(service):
    page = httpx.get(f"{service.rest}/", follow_redirects=True)
    assert page.url.path == "/docs"
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>Showcause" in page.text


def test_the_samples_of_the_description_work(service, photo, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    (tmp_path / "cat.jpg").write_bytes(photo)
    paths = httpx.get(f"{service.rest}/openapi.json").json()["paths"].values()
    samples = [
        sample["source"] for verbs in paths for told in verbs.values() for sample in told.get("x-codeSamples", [])
    ]
    samples.remove(CHANNELS)  # of another model: tests/e2e/test_maps.py
    assert len(samples) > 5
    for sample in samples:
        command = sample.replace("http://localhost:8080", service.rest).replace("curl ", "curl --fail-with-body -sS ")
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "why.npz") as arrays:
        assert {"map_0", "map_1", "reply"} == set(arrays)
