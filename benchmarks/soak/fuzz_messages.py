"""Serialised requests that are wrong in every way that protobuf allows, and in those that it does not."""

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from benchmarks.soak.mix import SERVICE
from showcause.v1 import service_pb2

KINDS: dict[str, type[Message]] = {
    "Explain": service_pb2.ExplainRequest,
    "Predict": service_pb2.PredictRequest,
    "ExplainStream": service_pb2.ExplainStreamRequest,
    "GetModel": service_pb2.GetModelRequest,
    "ListModels": service_pb2.ListModelsRequest,
    "GetChannelImportance": service_pb2.GetChannelImportanceRequest,
}
WEIGHTS = (8, 3, 4, 1, 1, 2)
MODELS = ("animals-bcos", "animals-parts", "animals-cnn")
TEXTS = (
    "", "1.0", "cat", "fox", "parts", "conv5", "features.0", "0", "-1", "\0", " ", "\u202e", "%s%n", "../../etc/passwd",
    "http://127.0.0.1/", "animals-bcos\n", "${jndi:ldap://x}", "e\u0301" * 300, "\U0001f98a" * 99, "x" * 5000,
)  # fmt: skip
WHOLE = (0, 1, 2, 5, 15, 16, 17, 29, 30, 63, 240, 4096, 4097, -1, -5, 2**31 - 1, -(2**31))
REAL = (0.0, -0.0, 0.5, 1.0, 99.5, 100.0, 300.0, -1.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
VARINTS = (0, 1, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
FIELDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 15, 16, 2047, 18999, 19000, 2**29 - 1)


def messages(photos: list[bytes], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """gRPC paths and the bytes to send there, without end."""
    while True:
        (name,) = rng.choices(list(KINDS), WEIGHTS)
        data = filled(KINDS[name], photos, rng).SerializeToString()
        (broken,) = rng.choices(
            (_kept, _reordered, _retyped, _overwritten, _cut, _deep, _made_up), (6, 2, 2, 2, 1, 1, 1)
        )
        yield f"/{SERVICE}/{name}", broken(data, rng)


def filled(kind: type[Message], photos: list[bytes], rng: random.Random) -> Any:
    """A message of random fields with extreme values; often of a served model and a good photo, so that it gets far."""
    message: Any = kind()
    _fill(message, photos, rng, 0)
    request = message.request if kind is service_pb2.ExplainStreamRequest else message
    known = {field.name for field in request.DESCRIPTOR.fields}
    if "model" in known and rng.random() < 0.8:
        request.model = rng.choice(MODELS)
        request.version = rng.choice(("", "", "1.0"))
    if "input" in known and rng.random() < 0.8:
        request.input.Clear()
        request.input.image = rng.choice(photos)
    if "methods" in known and rng.random() < 0.5:
        del request.methods[1:]
    return message


def _fill(message: Any, photos: list[bytes], rng: random.Random, depth: int) -> None:
    fields = list(message.DESCRIPTOR.fields)
    for field in rng.sample(fields, rng.randrange(min(5, len(fields)) + 1)):
        if field.is_repeated:
            for _ in range(rng.choice((1, 1, 2, 3, 17))):
                if field.type == FieldDescriptor.TYPE_MESSAGE:
                    _fill(getattr(message, field.name).add(), photos, rng, depth + 1)
                else:
                    getattr(message, field.name).append(_value(field, photos, rng))
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            getattr(message, field.name).SetInParent()
            if depth < 6:
                _fill(getattr(message, field.name), photos, rng, depth + 1)
        else:
            setattr(message, field.name, _value(field, photos, rng))


def _value(field: FieldDescriptor, photos: list[bytes], rng: random.Random) -> Any:
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return rng.choice(TEXTS)
        case FieldDescriptor.TYPE_BYTES:
            return rng.choice(
                (b"", rng.randbytes(100), rng.choice(photos), struct.pack("<4d", *rng.choices(REAL, k=4)))
            )
        case FieldDescriptor.TYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.TYPE_ENUM:
            return rng.choice((0, 1, 2, 3, 99, -1, 2**31 - 1))
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return rng.choice(REAL)
    return rng.choice(WHOLE)


def _kept(data: bytes, _: random.Random) -> bytes:
    return data


def _reordered(data: bytes, rng: random.Random) -> bytes:
    """Top fields in another order, some twice, some gone: the members of a `oneof` contradict each other."""
    fields = split(data)
    return b"".join(rng.choices(fields, k=rng.randrange(1, 2 * len(fields) + 1))) if fields else data


def _retyped(data: bytes, rng: random.Random) -> bytes:
    """Fields under other numbers, or of other wire types."""
    change: Callable[[bytes], bytes] = lambda field: varint(rng.choice(FIELDS) << 3 | rng.randrange(8)) + field[1:]  # noqa: E731
    return b"".join(change(field) if rng.random() < 0.4 else field for field in split(data))


def _overwritten(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        if changed:
            changed[rng.randrange(min(len(changed), rng.choice((64, len(changed)))))] = rng.randrange(256)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _deep(data: bytes, rng: random.Random) -> bytes:
    """A field within itself, up to thousands of times, or groups that never end."""
    if rng.random() < 0.3:
        return varint(rng.choice(FIELDS[1:]) << 3 | 3) * rng.randrange(1, 20000)
    tag = varint(rng.randrange(1, 9) << 3 | 2)
    for _ in range(rng.choice((50, 100, 101, 2000))):
        data = tag + varint(len(data)) + data
        if len(data) > 60_000:
            break
    return data


def _made_up(_: bytes, rng: random.Random) -> bytes:
    """Fields from nowhere, with lengths that lie and varints that never end."""
    made = []
    for _ in range(rng.randrange(1, 12)):
        wire = rng.randrange(8)
        body = {
            0: rng.choice((varint(rng.choice(VARINTS)), b"\xff" * 11)),
            1: rng.randbytes(8),
            2: varint(rng.choice((0, 1, 5, *VARINTS))) + rng.randbytes(rng.randrange(9)),
            5: rng.randbytes(4),
        }.get(wire, b"")
        made.append(varint(rng.choice(FIELDS) << 3 | wire) + body)
    return b"".join(made)


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def split(data: bytes) -> list[bytes]:
    """The top fields of a good message."""
    fields, start = [], 0
    while start < len(data):
        tag, place = _read(data, start)
        match tag & 7:
            case 0:
                _, place = _read(data, place)
            case 1:
                place += 8
            case 2:
                length, place = _read(data, place)
                place += length
            case _:
                place += 4
        fields.append(data[start:place])
        start = place
    return fields


def _read(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if data[place - 1] < 0x80:
            return number, place
