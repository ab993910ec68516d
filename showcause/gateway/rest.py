"""The service over REST: the same messages as JSON, a raw photo as the body, and pictures for those who accept them.

    POST /v1/models/{model}:explain    JSON, or a photo with ?target= &top_k= &method= &picture= &prediction_count=
    POST /v1/models/{model}:predict    JSON, or a photo with ?prediction_count=
    GET  /v1/models                    GET /v1/models/{model}
    GET  /healthz                      this process runs
    GET  /readyz                       the engine answers, too

``Accept: image/png`` on :explain answers the first picture of the first explanation (by default the overlay). Errors
are problem details (RFC 9457).
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from showcause.errors import InvalidArgument, ShowcauseError, internal, out_of_range
from showcause.gateway.service import MOST_OTHER_BYTES, REQUESTS, Caller, Service
from showcause.image import Limits, too_many_bytes
from showcause.reply import PICTURE_KINDS
from showcause.v1 import explanation_pb2, input_pb2, method_pb2, service_pb2
from showcause.wire import PICTURE_KIND_NUMBERS

log = logging.getLogger(__name__)

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 400,
    "DEADLINE_EXCEEDED": 504,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
}
PROBLEM_TYPE = "application/problem+json"
JSON_TYPE, PHOTO_TYPES = "application/json", ("image/", "application/octet-stream")
JSON_FACTOR = 4  # JSON takes more bytes than protobuf for the same
PARAMETERS = {
    "explain": ("target", "top_k", "method", "picture", "prediction_count", "version"),
    "predict": ("prediction_count", "version"),
}


def make_app(service: Service) -> Starlette:
    """The ASGI application."""

    async def explain(request: Request, caller: Caller) -> Response:
        message: Any = await _read(request, "explain", service.limits)
        as_picture = "image/png" in request.headers.get("accept", "")
        if as_picture and not message.output.pictures:
            message.output.pictures.append(explanation_pb2.PICTURE_KIND_OVERLAY)
        response = await service.answer("explain", message, caller)
        if not as_picture:
            return await asyncio.to_thread(_json, service_pb2.ExplainResponse.FromString(response))
        explanation = service_pb2.ExplainResponse.FromString(response).explanations[0]
        return Response(explanation.pictures[0].png, media_type="image/png")

    async def predict(request: Request, caller: Caller) -> Response:
        message: Any = await _read(request, "predict", service.limits)
        return _json(service_pb2.PredictResponse.FromString(await service.answer("predict", message, caller)))

    async def list_models(request: Request, _: Caller) -> Response:
        query = service_pb2.ListModelsRequest(page_token=request.query_params.get("page_token", ""))
        query.page_size = _whole(request, "page_size")
        return _json(service.list_models(query.SerializeToString()))

    async def get_model(request: Request, _: Caller) -> Response:
        query = service_pb2.GetModelRequest(
            model=request.path_params["model"], version=request.query_params.get("version", "")
        )
        return _json(service.get_model(query.SerializeToString()))

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        return JSONResponse({"status": "ready" if service.ready else "not ready"}, 200 if service.ready else 503)

    return Starlette(
        routes=[
            Route("/v1/models/{model}:explain", _guarded(service, explain), methods=["POST"]),
            Route("/v1/models/{model}:predict", _guarded(service, predict), methods=["POST"]),
            Route("/v1/models", _guarded(service, list_models)),
            Route("/v1/models/{model}", _guarded(service, get_model)),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ],
        exception_handlers={HTTPException: _no_such_page},
    )


async def _no_such_page(request: Request, error: Exception) -> Response:
    """Wrong paths and verbs, as problem details like every other error."""
    assert isinstance(error, HTTPException)
    body = {"type": "about:blank", "title": error.detail, "status": error.status_code}
    body["detail"] = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(body, error.status_code, headers=error.headers, media_type=PROBLEM_TYPE)


async def _read(request: Request, operation: str, limits: Limits) -> Message:
    """The request message from a JSON body or a raw photo; the model stands in the path."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    model = request.path_params["model"]
    if content_type == JSON_TYPE:
        _only_known(request, ())
        body = await _body(request, 4 * limits.image_bytes // 3 + MOST_OTHER_BYTES, limits)
        message = await asyncio.to_thread(_parsed_json, body, operation)  # beside the loop: it can be 27 MB
        if message.model not in ("", model):
            raise InvalidArgument(
                "PARAMETER_OUT_OF_RANGE",
                "not the model in the path",
                field="model",
                value=message.model,
                allowed=model,
            )
        message.model = model
        return message
    if content_type.startswith(PHOTO_TYPES):
        _only_known(request, PARAMETERS[operation])
        message = REQUESTS[operation](model=model, version=request.query_params.get("version", ""))
        message.prediction_count = _whole(request, "prediction_count")
        message.input.CopyFrom(input_pb2.Input(image=await _body(request, limits.image_bytes, limits)))
        if operation == "explain":
            _read_query(request, message)
        return message
    raise InvalidArgument(
        "REQUEST_MALFORMED",
        "this type of body is not read",
        field="content-type",
        value=content_type,
        allowed="application/json, image/* or application/octet-stream",
    )


def _parsed_json(body: bytes, operation: str) -> Any:
    """The request message from JSON; what is not the photo is limited before it is turned into messages."""
    message = REQUESTS[operation]()
    try:
        table = json.loads(body)
        image = table.get("input", {}).get("image", "")
        if len(body) - len(image) > JSON_FACTOR * MOST_OTHER_BYTES and "tensor" not in table["input"]:
            raise ValueError(f"beside the photo it has more than {JSON_FACTOR * MOST_OTHER_BYTES} bytes")
        json_format.ParseDict(table, message)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        text = f"the body is no {message.DESCRIPTOR.full_name} in JSON: {error}"
        raise InvalidArgument("REQUEST_MALFORMED", text[:500], field="body") from error
    return message


def _only_known(request: Request, known: tuple[str, ...]) -> None:
    for name in sorted(set(request.query_params) - set(known)):
        allowed = ", ".join(known) or "none beside a JSON body, which holds them"
        raise InvalidArgument("REQUEST_MALFORMED", "unknown query parameter", field=name, allowed=allowed)


def _read_query(request: Request, message: service_pb2.ExplainRequest) -> None:
    """?target=zebra&target=3 &top_k=2 &method=linear_map &picture=color"""
    for target in request.query_params.getlist("target"):
        by_index = re.fullmatch(r"-?[0-9]{1,9}", target)
        message.targets.append(
            method_pb2.Target(class_index=int(target)) if by_index else method_pb2.Target(label=target)
        )
    if "top_k" in request.query_params:
        message.targets.append(method_pb2.Target(top_k=_whole(request, "top_k")))
    for name in request.query_params.getlist("method"):
        method = method_pb2.Method()
        if name not in method.DESCRIPTOR.fields_by_name:
            allowed = ", ".join(method.DESCRIPTOR.fields_by_name)
            raise out_of_range("method", name, allowed)
        getattr(method, name).SetInParent()
        message.methods.append(method)
    for kind in request.query_params.getlist("picture"):
        if kind not in PICTURE_KINDS:
            allowed = ", ".join(PICTURE_KINDS)
            raise out_of_range("picture", kind, allowed)
        message.output.pictures.append(PICTURE_KIND_NUMBERS[kind])


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    try:
        number = int(text)
    except ValueError:
        number = 1 << 31
    if not -(1 << 31) <= number < 1 << 31:
        raise out_of_range(name, text, "a whole number of 32 bits")
    return number


async def _body(request: Request, most_bytes: int, limits: Limits) -> bytes:
    """The whole body, given up as soon as it is longer than allowed."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most_bytes:
        raise too_many_bytes(int(declared), limits)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise too_many_bytes(size, limits)
        parts.append(part)
    return b"".join(parts)


def _json(message: Message) -> Response:
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    )
    return Response(text, media_type=JSON_TYPE)


def _guarded(
    service: Service, run: Callable[[Request, Caller], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """Adds the caller's id, and turns errors into problem details."""

    async def handle(request: Request) -> Response:
        caller = service.caller(request.headers.get("x-request-id"), None)
        try:
            response = await run(request, caller)
        except ShowcauseError as error:
            response = _problem(error, caller)
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody reads it
        except Exception:
            log.exception("request %s failed", caller.request_id)
            response = _problem(internal(caller.request_id), caller)
        response.headers["x-request-id"] = caller.request_id
        return response

    return handle


def _problem(error: ShowcauseError, caller: Caller) -> Response:
    status = HTTP_STATUS.get(error.code_name, 500)
    body = {
        "type": "about:blank",
        "title": error.code_name,
        "status": status,
        "detail": error.message,
        "reason": error.reason,
        "request_id": caller.request_id,
    }
    body |= {key: value for key in ("field", "value", "allowed") if (value := getattr(error, key))}
    return JSONResponse(body, status, media_type=PROBLEM_TYPE)
