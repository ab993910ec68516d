"""What callers ask: a fixed mix of models, methods and ways, each request serialised before a clock starts.

The right answers are learned from the service at rest. A photo's answer is its strongest class and that class's logit,
and no two photos of the mix have the same, so that an answer which went to the wrong caller is noticed.
"""

import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import skimage.data
from PIL import Image

from showcause.client.calls import explain_request, predict_request
from showcause.v1 import service_pb2

PHOTOS = ("chelsea", "astronaut", "coffee", "rocket", "camera", "coins")
STREAMED = 4  # photos of one stream
SERVICE = service_pb2.DESCRIPTOR.services_by_name["ExplanationService"].full_name


@dataclass(frozen=True)
class Kind:
    """A row of the mix. way: unary, stream or rest. weight: how many of the mix's calls are such, relative to others.

    wishes: as of ``Client.explain``; REST sends the photo alone, with ``query``.
    """

    model: str
    operation: str
    way: str
    weight: int
    wishes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    query: str = ""

    @property
    def name(self) -> str:
        return " ".join((self.model, self.operation, *self.wishes.get("methods", ()), self.way))


MIX = (
    Kind("animals-bcos", "predict", "unary", 4),
    Kind("animals-bcos", "explain", "unary", 3, {"pictures": ("color",), "map_dtype": "float16"}),
    Kind("animals-bcos", "explain", "stream", 1),
    Kind("animals-parts", "explain", "unary", 3),
    Kind("animals-parts", "explain", "rest", 1),
    Kind("animals-cnn", "explain", "unary", 3, {"methods": ("grad_cam", "cam")}),
    Kind("animals-cnn", "explain", "unary", 1, {"methods": ("chip",), "pictures": ("overlay",)}),
    Kind("animals-cnn", "predict", "rest", 2),
    Kind("animals-cnn", "explain", "stream", 1),
)


@dataclass(frozen=True)
class Right:
    """The answer to one photo: its strongest class and that class's logit."""

    index: int
    logit: float

    def same(self, index: int, logit: float) -> bool:
        """Whether an answer is this one, to what batches of different sizes may differ by."""
        return index == self.index and abs(logit - self.logit) <= 0.01 + 0.002 * abs(self.logit)


@dataclass(frozen=True)
class Request:
    """One call. bodies: one serialised message a photo (a photo alone for REST); right: what each must be answered."""

    kind: Kind
    path: str
    bodies: tuple[bytes, ...]
    right: tuple[Right, ...]


def photo(name: str) -> bytes:
    """A photo of scikit-image's, as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(getattr(skimage.data, name)()).convert("RGB").save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def check_distinct(rights: Mapping[tuple[str, str], Right]) -> None:
    """Raises ValueError where a model's answers to two photos are too near to be told apart. Keys: model, photo."""
    for (one, a), (other, b) in combinations(rights.items(), 2):
        if one[0] == other[0] and a.same(b.index, b.logit):
            raise ValueError(f"{one[0]} answers {one[1]} and {other[1]} alike; use photos that it tells apart")


class Mix:
    """Requests to draw from. rights: by model and photo."""

    def __init__(self, kinds: Sequence[Kind], photos: Mapping[str, bytes], rights: Mapping[tuple[str, str], Right]):
        check_distinct(rights)
        self._kinds, self._photos, self._rights = kinds, photos, rights
        self._weights = [kind.weight for kind in kinds]
        self._requests = [[_request(kind, photos, rights, number) for number in range(len(photos))] for kind in kinds]
        calls = sum(self._weights)
        self.photos_a_call = (
            sum(each.weight * len(made[0].bodies) for each, made in zip(kinds, self._requests, strict=True)) / calls
        )

    def draw(self, rng: random.Random) -> Request:
        (requests,) = rng.choices(self._requests, self._weights)
        return rng.choice(requests)

    def without(self, way: str) -> "Mix":
        """The same mix without the kinds that go that way."""
        return Mix([kind for kind in self._kinds if kind.way != way], self._photos, self._rights)

    def all(self) -> list[Request]:
        """Each kind with each photo."""
        return [request for requests in self._requests for request in requests]


def _request(kind: Kind, photos: Mapping[str, bytes], rights: Mapping[tuple[str, str], Right], first: int) -> Request:
    """A call of a kind; a stream's photos go on from the first one."""
    names = [list(photos)[(first + n) % len(photos)] for n in range(STREAMED if kind.way == "stream" else 1)]
    right = tuple(rights[kind.model, name] for name in names)
    if kind.way == "rest":
        path = f"/v1/models/{kind.model}:{kind.operation}{kind.query}"
        return Request(kind, path, tuple(photos[name] for name in names), right)
    make = explain_request if kind.operation == "explain" else predict_request
    messages = [make(photos[name], model=kind.model, **kind.wishes) for name in names]
    if kind.way == "stream":
        messages = [service_pb2.ExplainStreamRequest(request=message) for message in messages]
    operation = "ExplainStream" if kind.way == "stream" else kind.operation.capitalize()
    return Request(kind, f"/{SERVICE}/{operation}", tuple(m.SerializeToString() for m in messages), right)
