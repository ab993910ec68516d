"""A reply as a file: what ``Reply.save`` wrote, arrays and pictures beside it, or the JSON that REST answered.

Such a file comes from anywhere: nothing in it is believed, and what is wrong with it is said by its path.
"""

import functools
import json
import math
import reprlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from showcause.errors import InvalidArgument
from showcause.gateway.rest_json import read_json
from showcause.reply import (
    PICTURE_KINDS,
    PROBABILITY_KINDS,
    Agreement,
    Explanation,
    InputFrame,
    Part,
    Picture,
    Prediction,
    Rectangle,
    Reply,
    Residual,
    Target,
    TestScore,
    Timings,
)
from showcause.request import MOST_REPLY_BYTES
from showcause.sameness import DIFFERS, NOT_CHECKED, Check
from showcause.v1 import model_pb2, service_pb2
from showcause.wire import read_reply

MOST_FILE_BYTES = 2 * MOST_REPLY_BYTES  # numbers and base64 are longer as text
MAP_DTYPES = ("float32", "float16", "uint8")
NPY = b"\x93NUMPY"
PNG_SIZE = slice(16, 24)  # width and height, in every PNG's first chunk


class Unreadable(Exception):
    """A file that is no reply; the message names the file, where in it, and what is allowed."""


@dataclass(frozen=True)
class Opened:
    """A reply, and what was noticed when it was read: files that are missing, figures that contradict each other."""

    reply: Reply
    noticed: tuple[Check, ...] = ()


def open_reply(path: Path) -> Opened:
    """A reply from its JSON file, of either form; raises Unreadable, or OSError where a file cannot be read."""
    data = read_bytes(path)
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:  # of ValueError Unicode's is a kind
        raise Unreadable(f"{path} is not JSON that can be read: {str(error)[:200]}") from error
    try:
        # REST calls it PROBABILITY_KIND_SOFTMAX or _SIGMOID.
        if isinstance(table, dict) and table.get("probability_kind") in PROBABILITY_KINDS:
            return _saved(table, path)
        with np.errstate(all="ignore"):  # scales of maps can be any numbers
            return _answered(data, path)
    except InvalidArgument as error:
        raise Unreadable(f"{path}: {error.message}") from error
    except (_Wrong, RecursionError) as error:
        raise Unreadable(f"{path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """A whole file, if it is not larger than a reply can be; raises Unreadable or OSError."""
    with open(path, "rb") as file:
        data = file.read(MOST_FILE_BYTES + 1)
    if len(data) > MOST_FILE_BYTES:
        raise Unreadable(f"{path} is too large; allowed: {MOST_FILE_BYTES} bytes")
    return data


def read_array(path: Path) -> NDArray[np.float32]:
    """An array of float32 from a .npy file; raises Unreadable or OSError."""
    with open(path, "rb") as file:
        if file.read(len(NPY)) != NPY:
            raise Unreadable(f"{path} is no .npy file")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # which looks whether the file is as long as it says
    except (ValueError, EOFError, TypeError, SyntaxError, OverflowError, MemoryError) as error:
        raise Unreadable(f"{path} is no whole .npy file: {str(error)[:200]}") from error
    if array.dtype != np.float32 or array.nbytes > MOST_FILE_BYTES:
        raise Unreadable(f"{path} holds {array.nbytes} bytes of {array.dtype}; allowed: {MOST_FILE_BYTES} of float32")
    return np.array(array)


class _Wrong(Exception):
    def __init__(self, path: str, value: object, allowed: str):
        super().__init__(f"{path} is {reprlib.repr(value)}; allowed: {allowed}")


def _answered(data: bytes, path: Path) -> Opened:
    """The JSON of an ExplainResponse; that of a PredictResponse is one without explanations."""
    message = service_pb2.ExplainResponse()
    read_json(data, message, len(data))
    try:
        reply = read_reply(message)
    except (ValueError, KeyError, OverflowError) as error:  # sizes that do not fit the data, numbers of no kind
        raise Unreadable(f"{path}: a map or the weights cannot be read: {type(error).__name__}: {error}") from error
    residuals: dict[int, float] = {}
    noticed: list[Check] = []
    for number, (sent, one) in enumerate(zip(message.explanations, reply.explanations, strict=True)):
        if len(sent.evidence) != len(one.evidence):
            what = f"evidence of {one.target} by {one.method}"
            noticed.append(Check(what, NOT_CHECKED, "there is some of a kind that is not known here"))
        kinds = {each.WhichOneof("evidence"): each for each in sent.evidence}
        if "residual" in kinds:
            residuals[number] = kinds["residual"].residual.relative_residual
    return Opened(reply, (*noticed, *_relative(reply, residuals)))


def _saved(table: dict[str, Any], path: Path) -> Opened:
    """What ``Reply.as_dict`` made."""
    _check_keys(table, {*(one.name for one in fields(Reply))}, "it")
    receipt = model_pb2.Receipt()
    sent = json.dumps(_one(dict, table["receipt"], "receipt")).encode()
    try:
        read_json(sent, receipt, len(sent))
    except InvalidArgument as error:
        raise Unreadable(f"{path}: receipt: {error.message}") from error
    rows = _one(list, table["explanations"], "explanations")
    explanations = [_saved_explanation(row, f"explanations[{number}]") for number, row in enumerate(rows)]
    reply = Reply(
        predictions=_read(tuple[Prediction, ...], table["predictions"], "predictions"),
        probability_kind=table["probability_kind"],
        frame=_read(InputFrame, table["frame"], "frame"),
        explanations=tuple(explanations),
        receipt=read_reply(service_pb2.ExplainResponse(receipt=receipt)).receipt,
        timings=_read(Timings, table["timings"], "timings"),
        request_id=_read(str, table["request_id"], "request_id"),
        agreements=_read(tuple[Agreement, ...], table["agreements"], "agreements"),
    )
    residuals = {
        number: _read(float, row["residual"]["relative_residual"], f"explanations[{number}].residual.relative_residual")
        for number, row in enumerate(rows)
        if row["residual"] is not None
    }
    stem = str(path).removesuffix(".json")
    missing: list[Check] = []
    found = [
        _with_files(one, row, f"{stem}.{name}", missing)
        for one, row, name in zip(explanations, rows, reply.names, strict=True)
    ]
    return Opened(replace(reply, explanations=tuple(found)), (*missing, *_relative(reply, residuals)))


def _saved_explanation(row: Any, path: str) -> Explanation:
    """All but what is in other files."""
    keys = {"method", "target", "kind", "residual", "map_shape", "map_dtype", "weights_shape", "pictures", "parts"}
    _check_keys(row, keys | {"test_scores", "box"}, path)
    residual, box = row["residual"], row["box"]
    evidence: list[Residual | TestScore] = []
    if residual is not None:
        _check_keys(residual, {*(one.name for one in fields(Residual)), "relative_residual"}, f"{path}.residual")
        numbers = {key: value for key, value in residual.items() if key != "relative_residual"}
        evidence.append(_read(Residual, numbers, f"{path}.residual"))
    if box is not None:
        _check_keys(box, {*(one.name for one in fields(Rectangle)), "threshold"}, f"{path}.box")
    edges = {key: value for key, value in box.items() if key != "threshold"} if box else {}
    return Explanation(
        method=_read(str, row["method"], f"{path}.method"),
        target=_read(Target, row["target"], f"{path}.target"),
        kind=_read(str, row["kind"], f"{path}.kind"),
        evidence=(*evidence, *_read(tuple[TestScore, ...], row["test_scores"], f"{path}.test_scores")),
        parts=_read(tuple[Part, ...], row["parts"], f"{path}.parts"),
        box=_read(Rectangle, edges, f"{path}.box") if box else None,
        box_threshold=_read(float, box["threshold"], f"{path}.box.threshold") if box else 0.0,
        map_dtype=_among(MAP_DTYPES, row["map_dtype"], f"{path}.map_dtype") if row["map_shape"] else MAP_DTYPES[0],
    )


def _with_files(explanation: Explanation, row: Mapping[str, Any], stem: str, missing: list[Check]) -> Explanation:
    """With its arrays and pictures. Files that are not there are noted in ``missing``."""

    def there(path: Path) -> bool:
        if not path.exists():
            missing.append(Check(path.name, NOT_CHECKED, "there is no such file beside the reply"))
        return path.exists()

    def array(kind: str) -> NDArray[np.float32] | None:
        shape, path = row[f"{kind}_shape"], Path(f"{stem}.{kind}.npy")
        if shape is None or not there(path):
            return None
        values = read_array(path)
        if list(values.shape) != shape:
            raise _Wrong(f"{kind}_shape of {path.name}", shape, f"that of the file, {values.shape}")
        return values

    pictures = []
    for kind in _one(list, row["pictures"], "pictures"):
        path = Path(f"{stem}.{_among(PICTURE_KINDS, kind, 'pictures')}.png")
        if there(path):
            png = read_bytes(path)
            width, height = (int.from_bytes(png[PNG_SIZE][start : start + 4]) for start in (0, 4))
            pictures.append(Picture(kind, png, width, height))
    return replace(explanation, map=array("map"), weights=array("weights"), pictures=tuple(pictures))


def _relative(reply: Reply, said: Mapping[int, float]) -> list[Check]:
    """Relative residuals that are not those of their own numbers."""
    found = []
    for number, value in said.items():
        explanation = reply.explanations[number]
        own = explanation.residual.relative if explanation.residual else math.nan
        if not math.isclose(value, own, rel_tol=1e-9):
            text = f"is {value:.3g}, and by its own numbers {own:.3g}"
            found.append(Check(f"relative residual of {explanation.target} by {explanation.method}", DIFFERS, text))
    return found


def _read(kind: Any, value: Any, path: str) -> Any:
    """A JSON value as ``kind``: a dataclass by its fields, a tuple, a union, a text or a number."""
    arguments = get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        _check_keys(value, set(hints), path)
        return kind(**{name: _read(hint, value[name], f"{path}.{name}") for name, hint in hints.items()})
    if isinstance(kind, UnionType):
        for option in arguments:
            try:
                return _read(option, value, path)
            except _Wrong:
                continue
        raise _Wrong(path, value, " or ".join(option.__name__ for option in arguments))
    if get_origin(kind) is tuple:
        entries = _one(list, value, path)
        kinds = [arguments[0]] * len(entries) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(entries):
            raise _Wrong(path, value, f"{len(kinds)} numbers")
        return tuple(_read(one, entries[number], f"{path}[{number}]") for number, one in enumerate(kinds))
    if kind is float:
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:  # NaN is not below either
            raise _Wrong(path, value, "a finite number")
        return float(value)
    return _one(kind, value, path)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _one(kind: type, value: Any, path: str) -> Any:
    if type(value) is not kind:  # bool is an int
        names = {dict: "an object", list: "a list", str: "a text", int: "a whole number", NoneType: "null"}
        raise _Wrong(path, value, names[kind])
    return value


def _among(allowed: tuple[str, ...], value: Any, path: str) -> str:
    if value not in allowed:
        raise _Wrong(path, value, ", ".join(allowed))
    return str(value)


def _check_keys(value: Any, keys: set[str], path: str) -> None:
    if set(_one(dict, value, path)) != keys:
        raise _Wrong(path, sorted(value), f"an object with the keys {', '.join(sorted(keys))}")
