"""HTTP requests that are well-formed as HTTP, and wrong in what they say: paths, queries, headers, JSON, forms."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict

from benchmarks.soak.fuzz_messages import MODELS, TEXTS, filled
from showcause.v1 import service_pb2
from tests.mutations import mutated

VALUES = (
    None, True, False, 0, -1, 1e308, 10**400, float("nan"), float("inf"), "", "cat", "AAAA", "=", [], {}, [[]],
    "9" * 5000, "\ud800", "\0", "DTYPE_NONE", "1e999",
)  # fmt: skip
TYPES = (
    "application/json", "image/jpeg", "application/octet-stream", "multipart/form-data",
    "multipart/form-data; boundary=", "text/plain", "application/x-www-form-urlencoded", "image/../x",
    "application/json; charset=utf-16", "", "/",
)  # fmt: skip
PARAMETERS = (
    "target", "top_k", "method", "picture", "map", "map_size", "region", "prediction_count", "box", "version",
    "part_count", "layer", "nonsense", "targets", "",
)  # fmt: skip
PATHS = (
    "/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v1/models", "/v1/models/", "/v1/models/%00", "/v1",
    "/v1/models/animals-bcos", "/v1/models/animals-cnn/channels", "/v1/models/..%2f..%2fetc:explain",
    "/v1/models/a:b:explain", "/v1/models/animals-bcos:EXPLAIN", "//v1/models", "/v1/models/" + "x" * 3000,
)  # fmt: skip
FITTING = ("3", "-1", "nan", "1e9", "linear_map", "grad_cam", "overlay", "1,2,3,4")  # some parameter


@dataclass(frozen=True)
class HttpRequest:
    method: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""


def http_requests(photos: list[bytes], rng: random.Random) -> Iterator[HttpRequest]:
    """Requests without end."""
    while True:
        (make,) = rng.choices((_document, _photo, _form, _anywhere), (5, 3, 3, 2))
        yield make(photos, rng)


def _path(rng: random.Random) -> str:
    return f"/v1/models/{rng.choice(MODELS)}:{rng.choice(('explain', 'explain', 'predict'))}"


def _query(rng: random.Random) -> list[tuple[str, str]]:
    """Mostly names that there are, with values that fit some of them."""
    values = (*(text for text in TEXTS if "\0" not in text), *FITTING)
    return [(rng.choice(PARAMETERS), rng.choice(values)[:500]) for _ in range(rng.choice((0, 0, 1, 2, 40)))]


def _headers(rng: random.Random, kind: str) -> dict[str, str]:
    headers = {"content-type": kind if rng.random() < 0.9 else rng.choice(TYPES)}
    odd = {
        "accept": rng.choice(("image/png", "application/json", "*/*;q=0", "q=x;;,", "application/x-npz", "")),
        "content-encoding": rng.choice(("gzip", "identity", "br, gzip")),
        "x-request-id": rng.choice(("a" * 200, "ward-7", "<script>", "'; --", "a b")),
        "expect": "100-continue",
        "range": "bytes=0-",
    }
    return headers | {name: odd[name] for name in rng.sample(list(odd), rng.choice((0, 0, 1, 2)))}


def _document(photos: list[bytes], rng: random.Random) -> HttpRequest:
    """JSON of a random message, with values exchanged, keys that nobody knows, nests, and broken text."""
    document = MessageToDict(filled(service_pb2.ExplainRequest, photos, rng), preserving_proto_field_name=True)
    for _ in range(rng.choice((0, 1, 3))):
        _worsen(document, rng)
    data = json.dumps(document).encode()
    (change,) = rng.choices(("none", "broken", "nested", "utf-16", "twice", "bare"), (6, 3, 1, 1, 1, 1))
    if change == "broken":
        (data,) = mutated([data], 1, rng.randrange(2**31))
    data = {
        "nested": b'{"input":' * rng.choice((90, 5000)) + data,
        "utf-16": data.decode(errors="replace").encode("utf-16"),
        "twice": data[:-1] + b', "model": "", "model": ""}',
        "bare": json.dumps(rng.choice(VALUES[:-4])).encode(),
    }.get(change, data)
    return HttpRequest("POST", _path(rng), _query(rng), _headers(rng, "application/json"), data)


def _worsen(document: Any, rng: random.Random) -> None:
    """Exchanges a value somewhere inside, or adds one."""
    while isinstance(document, dict | list) and document:
        key = rng.choice(list(document) if isinstance(document, dict) else range(len(document)))
        if not isinstance(document[key], dict | list) or rng.random() < 0.4:
            document[key] = _odd(rng)
            return
        document = document[key]
    if isinstance(document, dict):
        document[rng.choice((*PARAMETERS, "__proto__", "input"))] = _odd(rng)
    elif isinstance(document, list):
        document += [_odd(rng)] * rng.choice((1, 2, 500))


def _odd(rng: random.Random) -> Any:
    """A copy, because it may be worsened in turn."""
    return deepcopy(rng.choice(VALUES))


def _photo(photos: list[bytes], rng: random.Random) -> HttpRequest:
    photo = rng.choice((*photos, b"", b"no photo"))
    return HttpRequest("POST", _path(rng), _query(rng), _headers(rng, "image/jpeg"), photo)


def _form(photos: list[bytes], rng: random.Random) -> HttpRequest:
    """A form whose parts are doubled, missing, misnamed or cut off."""
    boundary = rng.choice(("x", "-" * 70, "a b", "\\"))
    names = rng.choices(("photo", "request", "target", "top_k", "", 'a"b', "x" * 900), k=rng.randrange(1, 7))
    parts = []
    for name in names:
        (body,) = rng.choices(
            (rng.choice(photos), b"{}", b'{"top_k": -1}', b"cat", b"\xff\xfe", b""), (4, 2, 1, 2, 1, 1)
        )
        file = rng.choice(('; filename="p.jpg"', "", "; filename*=utf-8''%ff", "; filename=" + "y" * 300))
        head = f'content-disposition: form-data; name="{name}"{file}\r\n'
        parts.append(f"--{boundary}\r\n{head}\r\n".encode() + body + b"\r\n")
    data = b"".join(parts) + rng.choice((f"--{boundary}--\r\n".encode(), b"", b"--"))
    if rng.random() < 0.3:
        (data,) = mutated([data], 1, rng.randrange(2**31))
    return HttpRequest(
        "POST", _path(rng), _query(rng), _headers(rng, f"multipart/form-data; boundary={boundary}"), data
    )


def _anywhere(photos: list[bytes], rng: random.Random) -> HttpRequest:
    """Any method on any path."""
    method = rng.choice(("GET", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "POST", "TRACE", "BREW"))
    content = rng.choice((b"", rng.choice(photos))) if method in ("PUT", "PATCH", "POST") else b""
    return HttpRequest(method, rng.choice(PATHS), _query(rng), _headers(rng, "image/jpeg"), content)
