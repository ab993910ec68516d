"""The REST application over a fake engine: bodies of every kind, replies of every kind, and what is no request."""

import asyncio
import base64
import io
import json

import httpx
import numpy as np
import pytest
from google.protobuf import json_format

from showcause.errors import ResourceExhausted
from showcause.gateway.metrics import Metrics
from showcause.gateway.rest import make_app
from showcause.gateway.service import Service
from showcause.image import Limits
from showcause.manifest import read_manifest
from showcause.v1 import explanation_pb2, input_pb2, model_pb2, service_pb2
from showcause.wire import seal
from tests.gateway.served import sealed, served
from tests.gateway.test_service import FakeEngine
from tests.series import total

URL = "/v1/models/animals-bcos"
PHOTO = b"\xff\xd8 a photo \0\r\n--"
RAW = {"content-type": "image/jpeg"}
MAPS = [np.float32([[0.5, -1, 2], [0, 1, 3]]), np.float32([[1, 2]])]


def answer() -> service_pb2.ExplainResponse:
    response = service_pb2.ExplainResponse(predictions=[model_pb2.Prediction(label="cat", logit=2.5)])
    for values in MAPS:
        height, width = values.shape
        explanation = response.explanations.add(method="linear_map")
        explanation.map.CopyFrom(
            explanation_pb2.Map(width=width, height=height, dtype=1, data=values.tobytes(), scale=1)
        )
        explanation.pictures.add(png=b"\x89PNG", kind=explanation_pb2.PICTURE_KIND_OVERLAY)
    weights = input_pb2.Tensor(shape=[6, 1, 2], dtype=1, data=np.arange(12, dtype="<f4").tobytes())
    response.explanations[1].weights.CopyFrom(weights)
    return response


@pytest.fixture
def engine():
    return FakeEngine(sealed(answer().SerializeToString()))


class Web:
    """The application without a network. Sends no Accept of its own."""

    def __init__(self, app):
        self.app = app

    def request(self, verb: str, path: str, **options) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test") as client:
                del client.headers["accept"]
                return await client.request(verb, path, **options)

        return asyncio.run(ask())

    def get(self, path: str, **options) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options) -> httpx.Response:
        return self.request("POST", path, **options)


@pytest.fixture
def client(shipped, engine):
    limits = Limits(image_bytes=100_000)
    return Web(make_app(Service(served([read_manifest(shipped)]), engine, Metrics(), limits)))


def sent(engine) -> service_pb2.ExplainRequest:
    return service_pb2.ExplainRequest.FromString(engine.calls[-1][2])


def request(**fields) -> service_pb2.ExplainRequest:
    image = base64.b64encode(PHOTO).decode()
    given = {"model": "animals-bcos", **fields, "input": {"image": image} | fields.get("input", {})}
    return json_format.ParseDict(given, service_pb2.ExplainRequest())


def refused(response, status: int, field: str) -> dict:
    """The problem, after the checks that hold for all of them."""
    problem = response.json()
    assert response.status_code == problem["status"] == status, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["field"] == field
    return problem


def test_a_photo_a_form_and_json_are_the_same_request(client, engine):
    query = "target=cat&output.map.width=8&output.map.height=6&input.region.x_max=5&linear_map.smoothing_px=3"
    beside = {
        "targets": [{"label": "cat"}],
        "methods": [{"linear_map": {"smoothing_px": 3}}],
        "output": {"map": {"width": 8, "height": 6}},
    }
    region = {"region": {"x_max": 5}}
    wanted = request(**beside, input=region)
    fields = dict(pair.split("=") for pair in query.split("&"))
    photo, part = {"photo": ("cat.jpg", PHOTO)}, json.dumps(beside | {"input": region})
    body = beside | {"input": region | {"image": base64.b64encode(PHOTO).decode()}}
    for ask in (
        {"content": PHOTO, "headers": RAW, "params": query},
        {"content": PHOTO, "headers": {"content-type": "Application/Octet-Stream; x=1"}, "params": query},
        {"json": body},
        {"files": photo, "data": fields},
        {"files": photo, "data": {"request": part}},
        {"files": photo | {"request": ("request.json", part, "application/json")}},
        {"files": {"photo": (None, PHOTO)}, "data": fields},
        {"files": photo, "data": {"request": json.dumps(beside)}, "params": "input.region.x_max=5"},
    ):
        assert client.post(f"{URL}:explain", **ask).status_code == 200, ask
        assert sent(engine) == wanted, ask


def test_predict_takes_the_same_bodies(client, engine):
    for ask in (
        {"content": PHOTO, "headers": RAW, "params": "prediction_count=3"},
        {"files": {"photo": ("a", PHOTO)}, "data": {"prediction_count": "3"}},
        {"json": {"input": {"image": base64.b64encode(PHOTO).decode()}, "prediction_count": 3}},
    ):
        response = client.post(f"{URL}:predict", **ask)
        assert response.json()["predictions"] == [{"index": 0, "label": "cat", "logit": 2.5, "probability": 0}]
        assert service_pb2.PredictRequest.FromString(engine.calls[-1][2]).prediction_count == 3
    refused(client.post(f"{URL}:predict?target=cat", content=PHOTO, headers=RAW), 400, "target")


PHOTO_PART = ("photo", ("cat.jpg", PHOTO))


@pytest.mark.parametrize(
    ("files", "data", "field"),
    [
        ([], {"request": "{}"}, "photo"),
        ([("picture", ("a", PHOTO))], {}, "photo"),
        ([PHOTO_PART, PHOTO_PART], {}, "photo"),
        ([PHOTO_PART, ("overlay", ("a", b""))], {}, "overlay"),
        ([PHOTO_PART, ("a", ("a", b"")), ("b", ("a", b""))], {}, "body"),
        ([PHOTO_PART], {"tarjet": "cat"}, "tarjet"),
        ([PHOTO_PART], {"version": ["1", "2"]}, "version"),
        ([PHOTO_PART], {"request": "{"}, "request"),
        ([PHOTO_PART], {"request": ["{}", "{}"]}, "request"),
        ([PHOTO_PART], {"request": '{"targets": 5}'}, "targets"),
        ([PHOTO_PART], {"request": '{"input": {"image": "aaaa"}}'}, "photo"),
        ([PHOTO_PART], {"request": '{"model": "other"}'}, "model"),
        ([PHOTO_PART], {"request": '{"version": "1"}', "version": "1"}, "version"),
        ([PHOTO_PART], {"request": " " * 300_000}, "body"),
        ([PHOTO_PART], {f"f{n}": "" for n in range(101)}, "body"),
        ([("photo", ("cat.jpg", bytes(100_001)))], {}, "input.image"),
        ([("photo", ("cat.jpg", bytes(500_000)))], {}, "input.image"),
    ],
)
def test_forms_that_are_wrong(client, engine, files, data, field):
    ask = {"files": files, "data": data} if files else {"files": {name: (None, text) for name, text in data.items()}}
    refused(client.post(f"{URL}:explain", **ask), 413 if field == "input.image" else 400, field)
    assert not engine.calls


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--x"),
        ("multipart/form-data; boundary=", b"----"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--y\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a"\r\n\r\na',
        ),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x"),
        *(
            (
                f"multipart/form-data; boundary=x; charset={charset}",
                b'--x\r\ncontent-disposition: form-data; name="\xff\xfe"\r\n\r\n\xff\r\n--x--\r\n',
            )
            for charset in ("utf-8", "idna", "punycode", "zlib", "no-such", "undefined")
        ),
    ],
)
def test_bytes_that_are_no_form(client, kind, body):
    response = client.post(f"{URL}:explain", content=body, headers={"content-type": kind})
    refused(response, 400, "body" if response.json()["field"] == "body" else "photo")


def test_an_encoded_body_is_refused(client):
    headers = RAW | {"content-encoding": "gzip"}
    refused(client.post(f"{URL}:explain", content=b"x", headers=headers), 415, "content-encoding")


def test_an_upload_that_does_not_come_to_its_end_has_a_limit(shipped, engine):
    service = Service(served([read_manifest(shipped)]), engine, Metrics(), timeout_seconds=0.3)

    async def stuck():
        yield b"a part of a photo"
        await asyncio.sleep(60)

    async def run():
        transport = httpx.ASGITransport(make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(f"{URL}:explain", content=stuck(), headers=RAW)

    refused_in_time = asyncio.run(asyncio.wait_for(run(), 20))
    assert refused_in_time.status_code == 504
    assert service.in_flight == 0


def test_what_is_refused_is_counted(shipped, engine):
    service = Service(served([read_manifest(shipped)]), engine, Metrics())
    client = Web(make_app(service))
    for body, kind in ((b"{", "application/json"), (b"x", "text/plain")):
        client.post(f"{URL}:explain", content=body, headers={"content-type": kind})
    client.post(f"{URL}:explain", content=PHOTO, headers=RAW)
    for code, times in (("INVALID_ARGUMENT", 2), ("OK", 1)):
        found = total(service.metrics.registry, "showcause_requests_total", model="animals-bcos", code=code)
        assert found == times


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "imagejpeg", "application/xml"]
)
def test_bodies_of_other_types_are_refused(client, kind):
    problem = refused(client.post(f"{URL}:explain", content=b"x", headers={"content-type": kind}), 415, "content-type")
    assert problem["allowed"] == "application/json, multipart/form-data, image/*, application/octet-stream"


def test_the_text_of_a_form_is_utf_8(client, engine):
    client.post(f"{URL}:explain", files=[PHOTO_PART], data={"target": "Füchse"})
    assert sent(engine).targets[0].label == "Füchse"
    for part in ({"target": (None, b"F\xfcchse")}, {"request": (None, b'{"model": "F\xfcchse"}')}):
        response = client.post(f"{URL}:explain", files=[PHOTO_PART, *part.items()])
        refused(response, 400, next(iter(part)))


def test_npz_holds_the_numbers_and_all_else_as_json(client):
    response = client.post(f"{URL}:explain", content=PHOTO, headers=RAW | {"accept": "application/x-npz"})
    assert response.headers["content-type"] == "application/x-npz"
    found = np.load(io.BytesIO(response.content), allow_pickle=False)
    assert set(found) == {"map_0", "map_1", "weights_1", "reply"}
    for position, values in enumerate(MAPS):
        np.testing.assert_array_equal(found[f"map_{position}"], values)
    np.testing.assert_array_equal(found["weights_1"], np.arange(12, dtype=np.float32).reshape(6, 1, 2))
    reply = json.loads(found["reply"].tobytes())
    assert reply["predictions"][0]["label"] == "cat"
    assert (reply["explanations"][0]["map"]["width"], reply["explanations"][0]["map"]["data"]) == (3, "")


def test_a_quantised_map_is_npz_in_its_own_values(client, engine):
    response = answer()
    response.explanations[0].map.CopyFrom(
        explanation_pb2.Map(width=2, height=1, dtype=input_pb2.DTYPE_UINT8, data=b"\x00\xff", scale=0.5, offset=-1)
    )
    engine.outcome = sealed(response.SerializeToString())
    found = client.post(f"{URL}:explain", content=PHOTO, headers=RAW | {"accept": "application/x-npz"})
    np.testing.assert_array_equal(np.load(io.BytesIO(found.content))["map_0"], np.float32([[-1, 126.5]]))


def test_png_asks_for_an_overlay_unless_a_picture_is_named(client, engine):
    headers = RAW | {"accept": "image/png"}
    assert client.post(f"{URL}:explain", content=PHOTO, headers=headers).content == b"\x89PNG"
    assert list(sent(engine).output.pictures) == [explanation_pb2.PICTURE_KIND_OVERLAY]
    client.post(f"{URL}:explain?picture=color", content=PHOTO, headers=headers)
    assert list(sent(engine).output.pictures) == [explanation_pb2.PICTURE_KIND_COLOR]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("image/*", "image/png"),
        ("Image/PNG", "image/png"),
        ("application/x-npz; x=1", "application/x-npz"),
        ("image/png, */*", "image/png"),
        ("image/png, application/json", "application/json"),
        ("application/json;q=0.5, image/png", "image/png"),
        ("application/json; q=0.5 , image/png;q=0.4", "application/json"),
        ("*/*;q=0.9, application/json;q=0.1, image/png;q=0", "application/x-npz"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("image/png;q=nan", None),
        ("nonsense", None),
        (",;,;q=,", None),
    ],
)
def test_accept(client, engine, accept, kind):
    headers = RAW | ({} if accept is None else {"accept": accept})
    response = client.post(f"{URL}:explain", content=PHOTO, headers=headers)
    if kind:
        assert response.headers["content-type"] == kind
    else:
        problem = refused(response, 406, "accept")
        assert problem["allowed"] == "application/json, image/png, application/x-npz"
        assert not engine.calls


def test_what_has_only_json_says_so(client):
    for ask in (("GET", "/v1/models"), ("GET", URL), ("POST", f"{URL}:predict")):
        problem = refused(client.request(*ask, headers=RAW | {"accept": "image/png"}), 406, "accept")
        assert problem["allowed"] == "application/json"


@pytest.mark.parametrize(
    ("verb", "path", "allow"),
    [
        ("GET", f"{URL}:explain", {"POST"}),
        ("DELETE", f"{URL}:predict", {"POST"}),
        ("POST", URL, {"GET", "HEAD"}),
        ("PUT", "/v1/models", {"GET", "HEAD"}),
        ("POST", "/openapi.json", {"GET", "HEAD"}),
        ("TRACE", "/healthz", {"GET", "HEAD"}),
    ],
)
def test_wrong_verbs(client, verb, path, allow):
    response = client.request(verb, path)
    problem = refused(response, 405, "method")
    assert set(response.headers["allow"].split(", ")) == set(problem["allowed"].split(", ")) == allow
    options = client.request("OPTIONS", path)
    assert (options.status_code, options.content) == (204, b"")
    assert set(options.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize(
    "path", ["/v2", "/v1/models/", "/v1/models/a/b", f"{URL}:nothing", f"{URL}:explain/", "/v1//models"]
)
def test_wrong_paths(client, path):
    for verb in ("GET", "POST", "OPTIONS"):
        refused(client.request(verb, path), 404, "path")


def test_head_is_get_without_a_body(client):
    for path in ("/v1/models", URL, "/healthz", "/openapi.json", "/docs"):
        head = client.request("HEAD", path)
        assert head.status_code == client.get(path).status_code == 200
        assert not head.content


def test_lists_and_models_read_their_query(client):
    assert client.get("/v1/models?page_size=1").json()["models"][0]["name"] == "animals-bcos"
    refused(client.get("/v1/models?page_size=-1"), 400, "page_size")
    refused(client.get("/v1/models?page_size=one"), 400, "page_size")
    assert refused(client.get("/v1/models?pagesize=1"), 400, "pagesize")["allowed"] == "page_size, page_token"
    refused(client.get(f"{URL}?version=9"), 404, "version")
    refused(client.get("/v1/models/%00"), 404, "model")


def test_a_fault_of_ours_is_a_problem_too(client, engine):
    engine.outcome = RuntimeError("a secret")
    response = client.post(f"{URL}:explain", content=PHOTO, headers=RAW | {"x-request-id": "scan-9"})
    assert response.status_code == 500
    assert (response.json()["reason"], response.json()["request_id"]) == ("INTERNAL", "scan-9")
    assert "secret" not in response.text
    engine.outcome = sealed(b"\xff")  # a reply that cannot be read
    assert client.post(f"{URL}:explain", content=PHOTO, headers=RAW).json()["reason"] == "INTERNAL"
    engine.outcome = seal(ResourceExhausted("QUEUE_FULL", "full"))
    full = client.post(f"{URL}:explain", content=PHOTO, headers=RAW)
    assert (full.status_code, full.headers["retry-after"]) == (429, "1")


def test_the_page_and_the_description(client):
    home = client.get("/")
    assert (home.status_code, home.headers["location"]) == (307, "docs")
    page = client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "://" not in page.text.replace("http://localhost:8080", ""), "it loads nothing from elsewhere"
    assert client.get("/openapi.json").json()["openapi"] == "3.1.0"
