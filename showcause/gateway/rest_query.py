"""Query parameters, and form fields of the same names: every option of the contract for who sends a photo as it is.

They are made from the contract's messages. A singular field is named by its path, ``output.map.width=64``; a message
on the way by its own, ``output.map=true`` (with its defaults) or ``output.map=false`` (not sent). What repeats has
short forms:

    target=zebra  target=3               a class by its label, or by its index where the text is digits
    top_k=2                              the strongest classes
    neuron=LAYER[:CHANNEL][@ROW,COLUMN]  a unit inside the network
    versus=dog                           the target (or the strongest class) against this one; empty: the runner-up
    method=linear_map                    and linear_map.smoothing_px=21, which asks for its method by itself
    picture=overlay
    class=3  label=zebra                 classes by index and by label, where that is all that is asked for
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from showcause.errors import out_of_range
from showcause.gateway.rest_json import malformed, printable, scalar, shown
from showcause.reply import NEURON, Neuron
from showcause.v1 import method_pb2

YES_OR_NO = ("true", "false")
IN_THE_PATH = "model"

Reach = Callable[[Any], Any]  # from a request to the message in it that holds the field


@dataclass(frozen=True)
class Parameter:
    """One query parameter.

    field: of the contract; its comment describes the parameter, with ``note``. put: writes a text into a request, or
    raises InvalidArgument. choices: the texts that are allowed, none for what the field's type holds. late: after the
    others, because it depends on them.
    """

    name: str
    field: FieldDescriptor
    put: Callable[[Any, str], None]
    choices: tuple[str, ...] = ()
    note: str = ""
    pattern: str = ""
    repeatable: bool = False
    late: bool = False


def read_query(pairs: Iterable[tuple[str, str]], message: Any) -> None:
    """Adds ``name=text`` pairs to a request, which may hold a JSON body already; nothing may be given twice.

    Raises InvalidArgument, which names the parameter, the text and what is allowed.
    """
    known, seen = parameters(message.DESCRIPTOR), set()
    pairs = list(pairs)
    for name, _ in pairs:
        if name not in known:
            near = get_close_matches(printable(name), known, 5, 0.5) or known
            raise malformed(printable(name), "unknown parameter", allowed=", ".join(near))
        if name in seen and not known[name].repeatable:
            raise malformed(name, "given more than once", allowed="once")
        seen.add(name)
    for name, text in sorted(pairs, key=lambda pair: known[pair[0]].late):
        choices = known[name].choices
        if choices and text not in choices:
            raise out_of_range(name, shown(text), ", ".join(choices))
        known[name].put(message, text)


@cache
def parameters(request: Descriptor) -> dict[str, Parameter]:
    """Every query parameter of a request message, by name."""
    return {parameter.name: parameter for parameter in _walk(request, "", lambda message: message)}


def _walk(message: Descriptor, prefix: str, reach: Reach) -> Iterator[Parameter]:
    for field in message.fields:
        path, choice = prefix + field.name, field.containing_oneof
        if path == IN_THE_PATH or (choice and not choice.name.startswith("_")):  # the body is the photo
            continue
        if field.is_repeated:
            yield from SHORT_FORMS[path](field, reach)
        elif field.message_type:
            if path != "input":
                put, note = _presence(field, path, reach), "true: with its defaults; false: not there."
                yield Parameter(path, field, put, YES_OR_NO, note, late=True)
            yield from _walk(field.message_type, f"{path}.", _step(reach, field.name))
        else:
            yield Parameter(path, field, _value(field, path, reach), _choices(field))


def _step(reach: Reach, name: str) -> Reach:
    return lambda message: getattr(reach(message), name)


def _value(field: FieldDescriptor, path: str, reach: Reach) -> Callable[[Any, str], None]:
    def put(message: Any, text: str) -> None:
        holder = reach(message)
        if field.name in (given.name for given, _ in holder.ListFields()):
            raise malformed(path, "given in the body already", allowed="once")
        holder.SetInParent()
        setattr(holder, field.name, _read(field, text, path))

    return put


def _presence(field: FieldDescriptor, path: str, reach: Reach) -> Callable[[Any, str], None]:
    def put(message: Any, text: str) -> None:
        holder = reach(message)
        holder.SetInParent()
        if text == "true":
            getattr(holder, field.name).SetInParent()
        elif holder.HasField(field.name):
            raise malformed(path, "not wanted, and given", "false", "true, or nothing of it")

    return put


def _read(field: Any, text: str, path: str) -> Any:
    """A text as the field's value."""
    value: object = text
    if field.type == FieldDescriptor.TYPE_BOOL:
        value = text == "true"
    elif field.enum_type:
        value = _long_names(field.enum_type).get(text, text)
    return scalar(field, value, path)


def _choices(field: FieldDescriptor) -> tuple[str, ...]:
    if field.enum_type:
        names = _long_names(field.enum_type)
        return (*names, *names.values())
    return YES_OR_NO if field.type == FieldDescriptor.TYPE_BOOL else ()


def _long_names(enum: EnumDescriptor) -> dict[str, str]:
    """DTYPE_FLOAT16 is float16 for short."""
    unspecified, *others = (value.name for value in enum.values)
    prefix = unspecified.removesuffix("UNSPECIFIED")
    return {name.removeprefix(prefix).lower(): name for name in others}


def _target_forms(field: Any, reach: Reach) -> Iterator[Parameter]:
    kinds = field.message_type.fields_by_name

    def target(message: Any, text: str) -> None:
        message.targets.add(**_class(text, "target"))

    def top_k(message: Any, text: str) -> None:
        message.targets.add(top_k=_read(kinds["top_k"], text, "top_k"))

    def neuron(message: Any, text: str) -> None:
        try:
            wish = Neuron.parse(text)
        except ValueError as error:
            raise out_of_range("neuron", shown(text), "LAYER[:CHANNEL][@ROW,COLUMN]") from error
        layer = kinds["neuron"].message_type.fields_by_name["layer"]
        sent = method_pb2.Neuron(layer=_read(layer, wish.layer, "neuron"), channel=wish.channel)
        if wish.place is not None:
            sent.place.row, sent.place.column = wish.place
        message.targets.add(neuron=sent)

    yield Parameter("target", kinds["label"], target, note="Digits alone are an index.", repeatable=True)
    yield Parameter("top_k", kinds["top_k"], top_k, repeatable=True)
    note = "Written LAYER[:CHANNEL][@ROW,COLUMN]."
    yield Parameter("neuron", kinds["neuron"], neuron, note=note, pattern=f"^{NEURON}$", repeatable=True)
    versus = kinds["difference"].message_type.fields_by_name["versus"]
    note = "By label or index, beside one target or none; an empty text is the default."
    yield Parameter("versus", versus, _put_versus, note=note, late=True)


def _put_versus(message: Any, text: str) -> None:
    kinds = [target.WhichOneof("target") for target in message.targets]
    if kinds not in ([], ["class_index"], ["label"]):
        raise malformed("versus", "beside other targets", shown(text), "with one class as the target, or none")
    difference = method_pb2.Difference()
    for target, kind in zip(message.targets, kinds, strict=True):
        setattr(difference.target, kind, getattr(target, kind))
    if text:
        difference.versus.CopyFrom(method_pb2.ClassReference(**_class(text, "versus")))
    del message.targets[:]
    message.targets.add(difference=difference)


def _class(text: str, name: str) -> dict[str, Any]:
    """The fields of a Target or a ClassReference."""
    by = "class_index" if re.fullmatch(r"-?[0-9]+", text) else "label"
    return {by: _read(method_pb2.ClassReference.DESCRIPTOR.fields_by_name[by], text, name)}


def _method_forms(field: Any, reach: Reach) -> Iterator[Parameter]:
    kinds = field.message_type.fields

    def method(message: Any, text: str) -> None:
        _asked(text)(message)

    yield Parameter("method", field, method, tuple(kind.name for kind in kinds), repeatable=True)
    for kind in kinds:
        yield from _walk(kind.message_type, f"{kind.name}.", _asked(kind.name))


def _asked(name: str) -> Reach:
    """From a request to the parameters of one of its methods, which is asked for by this."""

    def reach(message: Any) -> Any:
        for method in message.methods:
            if method.WhichOneof("method") == name:
                return getattr(method, name)
        added = getattr(message.methods.add(), name)
        added.SetInParent()
        return added

    return reach


def _picture_form(field: FieldDescriptor, reach: Reach) -> Iterator[Parameter]:
    def picture(message: Any, text: str) -> None:
        reach(message).pictures.append(_read(field, text, "picture"))

    yield Parameter("picture", field, picture, _choices(field), repeatable=True)


def _class_forms(field: Any, reach: Reach) -> Iterator[Parameter]:
    kinds = field.message_type.fields_by_name

    def by_index(message: Any, text: str) -> None:
        reach(message).classes.add(class_index=_read(kinds["class_index"], text, "class"))

    def by_label(message: Any, text: str) -> None:
        reach(message).classes.add(label=_read(kinds["label"], text, "label"))

    yield Parameter(
        "class", kinds["class_index"], by_index, note="One of the classes that are wanted.", repeatable=True
    )
    yield Parameter("label", kinds["label"], by_label, note="The same, by its label.", repeatable=True)


SHORT_FORMS = {
    "targets": _target_forms,
    "methods": _method_forms,
    "output.pictures": _picture_form,
    "classes": _class_forms,
}
