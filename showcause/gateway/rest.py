"""The service over REST: the contract's messages as JSON, and short ways for who has a photo and wants an answer.

    POST /v1/models/{model}:explain    JSON, a photo, or a form with both; the query says the rest
    POST /v1/models/{model}:predict
    GET  /v1/models                    GET /v1/models/{model}
    GET  /v1/models/{model}/channels   what CHIP distilled
    GET  /healthz                      this process runs
    GET  /readyz                       the engine answers, too
    GET  /openapi.json                 this, for programs; made from the contract by `make protos`
    GET  /docs                         and for people

``rest_input`` reads requests, ``rest_output`` writes replies. Errors are problem details (RFC 9457).
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from showcause.errors import DeadlineExceeded, NotFound, ShowcauseError, Unauthenticated, internal
from showcause.gateway import rest_docs
from showcause.gateway.access import Access
from showcause.gateway.rest_input import JSON_TYPE, Refused, body_bytes, read_request
from showcause.gateway.rest_output import PNG_TYPE, WRITERS, accepted, as_json
from showcause.gateway.rest_query import read_query
from showcause.gateway.seen import Seen
from showcause.gateway.service import REQUESTS, Caller, Service
from showcause.gateway.settings import Settings
from showcause.gateway.uploads import Uploads
from showcause.v1 import explanation_pb2, service_pb2

log = logging.getLogger(__name__)

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 400,
    "DEADLINE_EXCEEDED": 504,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
}
RESPONSES: dict[str, Any] = {"explain": service_pb2.ExplainResponse, "predict": service_pb2.PredictResponse}
PROBLEM_TYPE = "application/problem+json"

Handler = Callable[[Request, Caller, Seen], Awaitable[Response]]
T = TypeVar("T")


class _Name(Convertor[str]):
    """A model's name: what follows a colon is the operation."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


def make_app(service: Service, settings: Settings = Settings(Path())) -> Starlette:
    """The ASGI application. With tokens, the two probes alone are open to everybody."""
    uploads = Uploads(settings.max_uploads, settings.max_upload_bytes)

    def guarded(run: Handler, operation: str = "") -> Callable[[Request], Awaitable[Response]]:
        return _guarded(service, settings.access, run, operation)

    async def answered(request: Request, caller: Caller, seen: Seen, offers: Sequence[str]) -> Response:
        operation = seen.operation
        service.check_room(request.path_params["model"], request.query_params.get("version", ""), caller, seen)
        kind = accepted(request, offers)
        message: Any = REQUESTS[operation]()
        try:
            with uploads.reading(body_bytes(request, service.limits)):
                async with asyncio.timeout(caller.deadline - time.time()):
                    await read_request(request, message, service.limits)
        except TimeoutError:
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "the request did not arrive in time") from None
        seen.arrived()
        if kind == PNG_TYPE and not message.output.pictures:
            message.output.pictures.append(explanation_pb2.PICTURE_KIND_OVERLAY)
        data = await _while_connected(request, service.answer_seen(operation, message, caller, seen))
        return await asyncio.to_thread(WRITERS[kind], RESPONSES[operation].FromString(data))

    async def explain(request: Request, caller: Caller, seen: Seen) -> Response:
        return await answered(request, caller, seen, tuple(WRITERS))

    async def predict(request: Request, caller: Caller, seen: Seen) -> Response:
        return await answered(request, caller, seen, (JSON_TYPE,))

    async def list_models(request: Request, caller: Caller, _: Seen) -> Response:
        accepted(request)
        query = service_pb2.ListModelsRequest()
        read_query(request.query_params.multi_items(), query)
        return as_json(service.list_models(query.SerializeToString(), caller.identity))

    async def get_model(request: Request, caller: Caller, seen: Seen) -> Response:
        accepted(request)
        query = service_pb2.GetModelRequest(model=request.path_params["model"])
        read_query(request.query_params.multi_items(), query)
        return as_json(service.get_model(query.SerializeToString(), caller.identity, seen))

    async def get_channel_importance(request: Request, caller: Caller, seen: Seen) -> Response:
        accepted(request)
        query = service_pb2.GetChannelImportanceRequest(model=request.path_params["model"])
        read_query(request.query_params.multi_items(), query)
        data = query.SerializeToString()
        return await asyncio.to_thread(lambda: as_json(service.get_channel_importance(data, caller.identity, seen)))

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        return JSONResponse({"status": "ready" if service.ready else "not ready"}, 200 if service.ready else 503)

    async def to_docs(*_: object) -> Response:
        return RedirectResponse("docs")

    async def wrong_place(request: Request, error: Exception) -> Response:
        """What no route takes: raised by Starlette, answered like every other error."""
        assert isinstance(error, HTTPException)
        allow = (error.headers or {}).get("Allow", "")

        async def answer(*_: object) -> Response:
            if error.status_code == 405 and request.method == "OPTIONS":
                return Response(status_code=204)
            if error.status_code != 404:
                raise Refused(error.status_code, error.detail, field="method", value=request.method, allowed=allow)
            path, allowed = request.url.path, "the paths that /docs lists"
            raise NotFound("REQUEST_MALFORMED", "no such page", field="path", value=path, allowed=allowed)

        response = await guarded(answer)(request)
        response.headers.update(error.headers or {})
        return response

    app = Starlette(
        routes=[
            Route("/v1/models/{model:name}:explain", guarded(explain, "explain"), methods=["POST"]),
            Route("/v1/models/{model:name}:predict", guarded(predict, "predict"), methods=["POST"]),
            Route("/v1/models", guarded(list_models, "list_models")),
            Route("/v1/models/{model:name}", guarded(get_model, "get_model")),
            Route("/v1/models/{model:name}/channels", guarded(get_channel_importance, "get_channel_importance")),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/openapi.json", guarded(rest_docs.openapi)),
            Route("/docs", guarded(rest_docs.docs)),
            Route("/", guarded(to_docs)),
        ],
        exception_handlers={HTTPException: wrong_place},
        middleware=[*_cors(settings.cors_origins), Middleware(_InFlight, service=service)],
    )
    app.router.redirect_slashes = False  # a photo is not sent twice for a slash
    return app


def _cors(origins: Sequence[str]) -> list[Middleware]:
    """Lets web pages of these origins ask, and read the answers."""
    if not origins:
        return []
    allowed: dict[str, Any] = {
        "allow_origins": origins,
        "allow_methods": ("GET", "POST"),
        "allow_headers": ("authorization", "content-type", "x-request-id"),
        "expose_headers": ("x-request-id", "retry-after", "www-authenticate"),
    }
    return [Middleware(CORSMiddleware, **allowed)]


class _InFlight:
    """Counts requests until their replies are sent, so that a service that stops lets them go out."""

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.service.in_flight += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.service.in_flight -= 1


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; ends it when the caller goes away, so that nothing is computed for nobody."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.create_task(work), asyncio.create_task(disconnected())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


def _guarded(
    service: Service, access: Access, run: Handler, operation: str
) -> Callable[[Request], Awaitable[Response]]:
    """Asks who it is, adds the caller's id, watches operations, and turns errors into problem details. No body is read
    before.
    """

    async def handle(request: Request) -> Response:
        peer = request.client.host if request.client else ""
        caller = service.caller(request.headers.get("x-request-id"), None, "rest", peer)
        watching = service.watch(operation, caller) if operation else nullcontext(Seen("", "rest", ""))
        try:
            with watching as seen:
                identity = access.admit(request.headers.get("authorization"))
                seen.caller = identity.name
                response = await run(request, replace(caller, identity=identity), seen)
        except ShowcauseError as error:
            response = problem(error, caller.request_id)
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody reads it
        except Exception:
            log.exception("request %s failed", caller.request_id)
            response = problem(internal(caller.request_id), caller.request_id)
        response.headers["x-request-id"] = caller.request_id
        if service.draining.is_set():
            response.headers["connection"] = "close"  # what comes next goes elsewhere
        return response

    return handle


def problem(error: ShowcauseError, request_id: str) -> Response:
    """An error as problem details."""
    status = error.status if isinstance(error, Refused) else HTTP_STATUS.get(error.code_name, 500)
    if error.reason == "INPUT_TOO_LARGE":
        status = 413
    body = {
        "type": "about:blank",
        "title": error.code_name,
        "status": status,
        "detail": error.message,
        "reason": error.reason,
        "request_id": request_id,
    }
    body |= {key: value for key in ("field", "value", "allowed") if (value := getattr(error, key))}
    headers = {"retry-after": str(math.ceil(error.retry_seconds))} if error.retry_seconds else {}
    headers |= {"www-authenticate": "Bearer"} if isinstance(error, Unauthenticated) else {}
    return JSONResponse(body, status, headers, media_type=PROBLEM_TYPE)
