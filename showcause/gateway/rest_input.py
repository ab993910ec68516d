"""A request message from an HTTP request: its body (JSON, a photo, or a form with both), then its query.

Whatever the body is, the query adds to it; what both set is refused.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from showcause.errors import InvalidArgument
from showcause.gateway.rest_json import malformed, printable, read_json
from showcause.gateway.rest_query import read_query
from showcause.gateway.service import MOST_OTHER_BYTES
from showcause.image import NAMED_FORMATS, Limits, too_many_bytes

JSON_TYPE, FORM_TYPE, PHOTO_TYPES = "application/json", "multipart/form-data", ("image/*", "application/octet-stream")
MOST_JSON_BYTES = 4 * MOST_OTHER_BYTES  # JSON takes more bytes than protobuf for the same
MOST_FIELDS = 100


class Refused(InvalidArgument):
    """What HTTP has a status of its own for: 405, 406 or 415."""

    def __init__(self, status: int, message: str, *, field: str, value: object, allowed: str):
        super().__init__("REQUEST_MALFORMED", message, field=field, value=value, allowed=allowed)
        self.status = status


def body_bytes(request: Request, limits: Limits) -> int:
    """How many bytes of the body will be read: those that it declares, or the most of any."""
    return min(_declared(request) or _most_bytes(limits), _most_bytes(limits))


def _most_bytes(limits: Limits) -> int:
    """Of the largest kind of body: base64 takes 4/3 of the bytes; escaped slashes and line breaks some more."""
    return 3 * limits.image_bytes // 2 + MOST_JSON_BYTES


def _declared(request: Request) -> int:
    """0 where it is not told: where a body comes in chunks, its length is what counts, and not what is said of it."""
    if "transfer-encoding" in request.headers:
        return 0
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


async def read_request(request: Request, message: Any, limits: Limits) -> None:
    """Fills the empty ExplainRequest or PredictRequest ``message``; the model stands in the path.

    Raises InvalidArgument, Refused for a type of body that is not read, ClientDisconnect.
    """
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    pairs = request.query_params.multi_items()
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        text = "encoded bodies are not read"
        raise Refused(415, text, field="content-encoding", value=encoding, allowed="identity, or none")
    if content_type == JSON_TYPE:
        body = await _body(request, _most_bytes(limits), limits)
        await asyncio.to_thread(read_json, body, message, MOST_JSON_BYTES)  # beside the loop: it can be 27 MB
    elif content_type.startswith("image/") or content_type in PHOTO_TYPES:
        message.input.image = await _body(request, limits.image_bytes, limits)
    elif content_type == FORM_TYPE:
        pairs += await _read_form(request, message, limits)
    else:
        raise Refused(
            415,
            "this type of body is not read",
            field="content-type",
            value=content_type,
            allowed=", ".join((JSON_TYPE, FORM_TYPE, *PHOTO_TYPES)),
        )
    model = request.path_params["model"]
    if message.model not in ("", model):
        raise InvalidArgument(
            "PARAMETER_OUT_OF_RANGE", "not the model in the path", field="model", value=message.model, allowed=model
        )
    message.model = model
    read_query(pairs, message)


class _Form(MultiPartParser):
    """Starlette's parser, which would lose a part that is cut off."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


async def _read_form(request: Request, message: Any, limits: Limits) -> list[tuple[str, str]]:
    """A file ``photo``, and all else in a part ``request`` (JSON) or in fields named like query parameters."""
    most_bytes = limits.image_bytes + MOST_JSON_BYTES

    async def whole() -> AsyncGenerator[bytes, None]:
        async for chunk in _chunks(request, most_bytes, limits):
            yield chunk
        if not parser.ended:
            raise MultiPartException("It ends before its last boundary.")

    # Latin-1 keeps the bytes of whatever is no file, so that a photo may come without a file name.
    headers = Headers({"content-type": f"{request.headers['content-type']}; charset=latin-1"})
    parser = _Form(headers, whole(), max_files=2, max_fields=MOST_FIELDS, max_part_size=limits.image_bytes)
    parser.spool_max_size = most_bytes  # in memory, like other bodies: there may be no disk to write to
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise malformed("body", f"not a form that can be read: {error.message}") from error
    try:
        photo, document = await _only(form, "photo"), await _only(form, "request")
        if photo is None:
            allowed = f"a part of that name: {NAMED_FORMATS} bytes"
            raise InvalidArgument("INPUT_MISSING", "the form has no photo", field="photo", allowed=allowed)
        if document is not None:
            await asyncio.to_thread(read_json, document, message, MOST_JSON_BYTES, "request")
        if message.input.WhichOneof("data"):
            raise malformed("photo", "given beside an input in the part 'request'", allowed="one of them")
        message.input.image = photo
        return [_field(name, part) for name, part in form.multi_items() if name not in ("photo", "request")]
    finally:
        await form.close()


async def _only(form: FormData, name: str) -> bytes | None:
    parts = form.getlist(name)
    if len(parts) > 1:
        raise malformed(name, "given more than once", allowed="once")
    for part in parts:
        return await part.read() if isinstance(part, UploadFile) else part.encode("latin-1")
    return None


def _field(name: str, part: UploadFile | str) -> tuple[str, str]:
    if isinstance(part, UploadFile):
        raise malformed(printable(name), "a file where text belongs", allowed="files named photo and request")
    try:
        return name, part.encode("latin-1").decode()
    except UnicodeDecodeError as error:
        raise malformed(printable(name), "its text is not UTF-8", allowed="UTF-8") from error


async def _body(request: Request, most_bytes: int, limits: Limits) -> bytes:
    return b"".join([chunk async for chunk in _chunks(request, most_bytes, limits)])


async def _chunks(request: Request, most_bytes: int, limits: Limits) -> AsyncGenerator[bytes, None]:
    """The body, given up as soon as it is longer than allowed."""
    size = 0
    if (declared := _declared(request)) > most_bytes:
        raise too_many_bytes(declared, limits)
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise too_many_bytes(size, limits)
        yield chunk
