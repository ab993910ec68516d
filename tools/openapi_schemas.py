"""JSON schemas from the contract: what is accepted as a request, and what is sent as a reply.

Both follow proto3 JSON as the gateway reads it (``rest_json.py``) and writes it (``rest_output.py``): a request may
give a number as text, an enum by number and null for what is not set; a reply has every field that has no presence.
Schemas are named after their message, behind ``request.`` or ``reply.``.
"""

import re
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from showcause.gateway.rest_json import BASE64, NUMBER, WHOLE

Schema = dict[str, Any]
F = FieldDescriptor
PACKAGE = "showcause.v1"

WHOLE_32 = {"minimum": -(1 << 31), "maximum": (1 << 31) - 1}
TEXT = {"type": "string", "pattern": r"^[^\u0000]*$"}
SCALARS: dict[str, dict[int, Schema]] = {
    "request": {
        F.TYPE_INT32: {"type": ["integer", "string"], "format": "int32", **WHOLE_32, "pattern": f"^{WHOLE}$"},
        F.TYPE_INT64: {"type": ["integer", "string"], "format": "int64", "pattern": f"^{WHOLE}$"},
        F.TYPE_DOUBLE: {"type": ["number", "string"], "format": "double", "pattern": f"^{NUMBER}$"},
        F.TYPE_BOOL: {"type": "boolean"},
        F.TYPE_STRING: TEXT,
        F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64", "pattern": f"^{BASE64}$"},
    },
    "reply": {
        F.TYPE_INT32: {"type": "integer", "format": "int32", **WHOLE_32},
        F.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"},
        F.TYPE_DOUBLE: {"type": ["number", "string"], "format": "double", "pattern": "^(NaN|-?Infinity)$"},
        F.TYPE_BOOL: {"type": "boolean"},
        F.TYPE_STRING: {"type": "string"},
        F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    },
}
# What no request can do without, though proto3 has no word for it: (message, field).
REQUIRED = {("ExplainRequest", "input"), ("PredictRequest", "input"), ("Rectangle", "x_max"), ("Rectangle", "y_max")}


@dataclass(frozen=True)
class Contract:
    """pool: descriptors of the contract. comments: by full name, as one line."""

    pool: DescriptorPool
    comments: dict[str, str]

    def message(self, name: str) -> Descriptor:
        return self.pool.FindMessageTypeByName(f"{PACKAGE}.{name}")

    def comment(self, name: str) -> str:
        return self.comments.get(name if name.startswith(PACKAGE) else f"{PACKAGE}.{name}", "")


def read_contract(files: FileDescriptorSet) -> Contract:
    """The contract from what protoc writes with --include_imports and --include_source_info."""
    pool, comments = DescriptorPool(), {}
    for file in files.file:
        pool.Add(file)
        comments.update(_comments(file))
    return Contract(pool, comments)


def _comments(file: FileDescriptorProto) -> dict[str, str]:
    """Leading comments. A location's path is field numbers and indices in turn, such as (4, message, 2, field)."""
    found = {}
    for location in file.source_code_info.location:
        here: Any = file
        names = [file.package]
        for number, index in zip(location.path[::2], location.path[1::2], strict=False):
            listed = getattr(here, here.DESCRIPTOR.fields_by_number[number].name)
            if not hasattr(listed, "__getitem__") or not hasattr(listed[index], "name"):
                break
            here = listed[index]
            names.append(here.name)
        else:
            if len(location.path) % 2 == 0 and location.leading_comments:
                found[".".join(names)] = " ".join(location.leading_comments.split())
    return found


def schemas(contract: Contract, side: str, *roots: str) -> dict[str, Schema]:
    """The schemas of the messages and of all that they hold. side: "request" or "reply"."""
    found: dict[str, Schema] = {}
    pending: list[Any] = [contract.message(name) for name in roots]
    while pending:
        kind = pending.pop(0)
        name = f"{side}.{kind.name}"
        if name in found:
            continue
        if isinstance(kind, Descriptor):
            found[name] = _message(contract, side, kind)
            pending += [field.message_type or field.enum_type for field in kind.fields if not _plain(field)]
        else:
            found[name] = _enum(contract, side, kind)
    return dict(sorted(found.items()))


def _plain(field: FieldDescriptor) -> bool:
    return field.message_type is None and field.enum_type is None


def _message(contract: Contract, side: str, message: Descriptor) -> Schema:
    schema: Schema = {"description": contract.comment(message.full_name), "type": "object"}
    schema["properties"] = {field.name: _property(contract, side, field) for field in message.fields}
    if side == "request":
        required = [field.name for field in message.fields if (message.name, field.name) in REQUIRED]
    else:
        required = [field.name for field in message.fields if not field.has_presence]
    if required:
        schema["required"] = required
    for choice in message.oneofs:
        if not choice.name.startswith("_"):  # those stand for `optional`
            schema["oneOf"] = [_chosen(side, choice, field) for field in choice.fields]
    schema["additionalProperties"] = False
    return schema


def _property(contract: Contract, side: str, field: Any) -> Schema:
    schema, comment = value(side, field), contract.comment(field.full_name)
    if side == "request":
        schema = schema | said_range(field, comment)
    if field.is_repeated:
        schema = {"type": "array", "items": schema}
    if side == "request" and (field.containing_type.name, field.name) not in REQUIRED:
        schema = _or_null(schema)
    return schema | {"description": comment}


def said_range(field: Any, comment: str) -> Schema:
    """The range that the comment of a number names: `1 to 4096`, `from 0`, `below 1`. `0 means` lets 0 in, too."""
    if field.type not in (F.TYPE_INT32, F.TYPE_DOUBLE):
        return {}
    least = re.search(r"([0-9]+) to \b|from ([0-9]+)|greater than ([0-9]+)", comment, re.IGNORECASE)
    most = re.search(r"[0-9] to ([0-9]+)|up to ([0-9]+)", comment)
    below = re.search(r"below ([0-9]+)", comment)
    found = {}
    if least or "0 means" in comment:
        found["minimum"] = 0 if "0 means" in comment or not least else int(least[least.lastindex or 0])
    if most:
        found["maximum"] = int(most[most.lastindex or 0])
    return found | ({"exclusiveMaximum": int(below[1])} if below else {})


def value(side: str, field: Any) -> Schema:
    """The schema of one value of the field."""
    if _plain(field):
        return SCALARS[side][field.type]
    kind = field.message_type or field.enum_type
    return {"$ref": f"#/components/schemas/{side}.{kind.name}"}


def _or_null(schema: Schema) -> Schema:
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return schema | {"type": [*kinds, "null"]}


def _chosen(side: str, choice: OneofDescriptor, field: FieldDescriptor) -> Schema:
    """Of a oneof, this field and no other."""
    schema: Schema = {"title": field.name, "required": [field.name]}
    if side == "request":  # null is as good as nothing
        others: dict[str, Schema] = {
            other.name: {"type": "null"} for other in choice.fields if other.name != field.name
        }
        schema["properties"] = {field.name: {"not": {"type": "null"}}, **others}
    return schema


def listed(contract: Contract, values: Any, prefix: str = "") -> str:
    """Values of an enum with their comments, as a list in Markdown."""
    return "\n".join(
        f"- {value.name.removeprefix(prefix)}: {contract.comment(f'{value.type.full_name}.{value.name}')}"
        for value in values
    )


def _enum(contract: Contract, side: str, enum: Any) -> Schema:
    names = [value.name for value in enum.values]
    description = f"{contract.comment(enum.full_name)}\n\n{listed(contract, enum.values)}"
    if side == "reply":
        return {"description": description, "type": "string", "enum": names}
    return {"description": description, "anyOf": [{"enum": names}, SCALARS["request"][F.TYPE_INT32]]}
