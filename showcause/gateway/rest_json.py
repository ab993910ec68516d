"""JSON -> request messages, by the rules of proto3 JSON: names in snake_case or camelCase, null for what is not set,
numbers also as text, bytes as base64.

protobuf's own ``json_format`` takes some of what is wrong ([] for a message, any text for base64, 1.7 for an enum),
and its errors have no path; here each names its field as the rest of the service does, such as
``targets[0].class_index``. It remains what writes the replies.
"""

import binascii
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from showcause.errors import InvalidArgument, out_of_range

WHOLE = r"-?[0-9]{1,20}"
NUMBER = r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?"
# With the alphabet for URLs, and lines as MIME breaks them.
BASE64 = r"[A-Za-z0-9+/_\r\n-]*={0,2}[\r\n]*"
# A photo or a tensor in a document: base64, with the escapes that JSON may have for its slashes and line breaks.
CARRIED = re.compile(rb'"[A-Za-z0-9+/_=\\rn-]{1000,}"')
PLAIN = str.maketrans({"-": "+", "_": "/", "\r": None, "\n": None})
NAMED_CHARACTERS = 100


def read_json(data: bytes, message: Any, most_bytes: int, part: str = "body") -> None:
    """Fills the empty request ``message`` from a JSON document.

    most_bytes: beside the photo or tensor. part: what errors name where they can name no field. Raises InvalidArgument.
    """
    carried = max((len(found.group()) for found in CARRIED.finditer(data)), default=0)
    if len(data) - carried > most_bytes:  # before an object is made of each of its entries
        raise malformed(part, "too large, its photo not counted", allowed=f"at most {most_bytes} bytes")
    try:
        table = json.loads(data.decode(), object_pairs_hook=_each_once, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise malformed(part, f"not JSON that can be read: {str(error)[:300]}") from error
    if not isinstance(table, dict):
        raise malformed(part, "not an object", shown(table), f"a {message.DESCRIPTOR.name} as JSON")
    _fill(message, table, "")


def scalar(field: FieldDescriptor, value: object, path: str) -> Any:
    """A JSON value, or a text that says it, as what ``field`` holds; raises InvalidArgument that names ``path``."""
    try:
        return READERS[field.type](field, value)
    except (ValueError, OverflowError) as error:
        allowed = ", ".join(field.enum_type.values_by_name) if field.enum_type else ALLOWED[field.type]
        raise out_of_range(path, shown(value), allowed) from error


def malformed(field: str, message: str, value: object = None, allowed: str = "") -> InvalidArgument:
    """What cannot be read."""
    return InvalidArgument("REQUEST_MALFORMED", message, field=field, value=value, allowed=allowed)


def printable(name: str) -> str:
    """A name that a caller made up, for an error: it may hold anything."""
    return ascii(name[:NAMED_CHARACTERS])[1:-1]


def shown(value: object) -> object:
    """A JSON value for an error."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return value[: 3 * NAMED_CHARACTERS] if isinstance(value, str) else json.dumps(value)


def _fill(message: Any, table: dict[str, object], path: str) -> None:
    fields = {name: field for field in message.DESCRIPTOR.fields for name in (field.name, field.json_name)}
    given = set()
    for name, value in table.items():
        field = fields.get(name)
        if field is None:
            allowed = ", ".join(message.DESCRIPTOR.fields_by_name) or "none: this message is empty"
            raise malformed(f"{path}{printable(name)}", "no such field", allowed=allowed)
        where = path + field.name
        choice = field.containing_oneof
        if field.name in given or (value is not None and choice and message.WhichOneof(choice.name)):
            others = ", ".join(other.name for other in choice.fields) if choice else field.name
            raise malformed(where, "given beside another that excludes it", allowed=f"one of {others}")
        given.add(field.name)
        if value is None:
            continue
        if field.is_repeated:
            _fill_list(getattr(message, field.name), field, value, where)
        elif field.message_type:
            part = getattr(message, field.name)
            part.SetInParent()
            _fill(part, _object(value, where), f"{where}.")
        else:
            setattr(message, field.name, scalar(field, value, where))


def _fill_list(entries: Any, field: FieldDescriptor, value: object, path: str) -> None:
    if not isinstance(value, list):
        raise malformed(path, "not a list", shown(value), "a list")
    for position, entry in enumerate(value):
        where = f"{path}[{position}]"
        if field.message_type:
            _fill(entries.add(), _object(entry, where), f"{where}.")
        else:
            entries.append(scalar(field, entry, where))


def _object(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise malformed(path, "not an object", shown(value), "an object")
    return value


def _each_once(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    table: dict[str, object] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"the key '{printable(name)}' stands twice in one object")
        table[name] = value
    return table


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _whole(bits: int) -> Callable[[FieldDescriptor, object], int]:
    def read(_: FieldDescriptor, value: object) -> int:
        if (isinstance(value, str) and re.fullmatch(WHOLE, value)) or (isinstance(value, float) and value.is_integer()):
            value = int(value)
        if type(value) is not int or not -(1 << bits - 1) <= value < 1 << bits - 1:  # bool is an int
            raise ValueError
        return value

    return read


def _number(_: FieldDescriptor, value: object) -> float:
    if (isinstance(value, str) and re.fullmatch(NUMBER, value)) or type(value) in (int, float):
        number = float(value)  # type: ignore[arg-type]
        if math.isfinite(number):  # JSON's 1e400 is not
            return number
    raise ValueError


def _flag(_: FieldDescriptor, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(_: FieldDescriptor, value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    value.encode()  # a lone surrogate cannot be
    return value


def _bytes(_: FieldDescriptor, value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError
    plain = value.translate(PLAIN)
    return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)


def _choice(field: Any, value: object) -> int:
    """By name or by number; which numbers are allowed, the service says, as for gRPC."""
    names: dict[object, Any] = {name: entry.number for name, entry in field.enum_type.values_by_name.items()}
    return names[value] if isinstance(value, str) and value in names else _whole_32(field, value)


_whole_32 = _whole(32)
F = FieldDescriptor
READERS: dict[int, Callable[[FieldDescriptor, object], Any]] = {
    F.TYPE_INT32: _whole_32,
    F.TYPE_INT64: _whole(64),
    F.TYPE_DOUBLE: _number,
    F.TYPE_BOOL: _flag,
    F.TYPE_STRING: _text,
    F.TYPE_BYTES: _bytes,
    F.TYPE_ENUM: _choice,
}
ALLOWED = {
    F.TYPE_INT32: "a whole number of 32 bits",
    F.TYPE_INT64: "a whole number of 64 bits",
    F.TYPE_DOUBLE: "a finite number",
    F.TYPE_BOOL: "true or false",
    F.TYPE_STRING: "text of Unicode characters without NUL",
    F.TYPE_BYTES: "base64",
}
