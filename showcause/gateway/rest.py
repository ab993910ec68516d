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
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from showcause.errors import DeadlineExceeded, NotFound, ResourceExhausted, ShowcauseError, Unavailable, internal
from showcause.gateway import rest_docs
from showcause.gateway.rest_input import JSON_TYPE, Refused, read_request
from showcause.gateway.rest_output import PNG_TYPE, WRITERS, accepted, as_json
from showcause.gateway.rest_query import read_query
from showcause.gateway.service import REQUESTS, Caller, Service
from showcause.v1 import explanation_pb2, service_pb2
from showcause.wire import RETRY_SECONDS

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
RESPONSES: dict[str, Any] = {"explain": service_pb2.ExplainResponse, "predict": service_pb2.PredictResponse}
PROBLEM_TYPE = "application/problem+json"

Handler = Callable[[Request, Caller], Awaitable[Response]]


class _Name(Convertor[str]):
    """A model's name: what follows a colon is the operation."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


def make_app(service: Service) -> Starlette:
    """The ASGI application."""

    async def answered(operation: str, request: Request, caller: Caller, offers: Sequence[str]) -> Response:
        with service.metrics.watch(operation) as seen:
            kind = accepted(request, offers)
            message: Any = REQUESTS[operation]()
            try:
                async with asyncio.timeout(caller.deadline - time.time()):
                    await read_request(request, message, service.limits)
            except TimeoutError:
                raise DeadlineExceeded("DEADLINE_EXCEEDED", "the request did not arrive in time") from None
            if kind == PNG_TYPE and not message.output.pictures:
                message.output.pictures.append(explanation_pb2.PICTURE_KIND_OVERLAY)
            data = await service.answer_seen(operation, message, caller, seen)
            return await asyncio.to_thread(WRITERS[kind], RESPONSES[operation].FromString(data))

    async def explain(request: Request, caller: Caller) -> Response:
        return await answered("explain", request, caller, tuple(WRITERS))

    async def predict(request: Request, caller: Caller) -> Response:
        return await answered("predict", request, caller, (JSON_TYPE,))

    async def list_models(request: Request, _: Caller) -> Response:
        accepted(request)
        query = service_pb2.ListModelsRequest()
        read_query(request.query_params.multi_items(), query)
        return as_json(service.list_models(query.SerializeToString()))

    async def get_model(request: Request, _: Caller) -> Response:
        accepted(request)
        query = service_pb2.GetModelRequest(model=request.path_params["model"])
        read_query(request.query_params.multi_items(), query)
        return as_json(service.get_model(query.SerializeToString()))

    async def get_channel_importance(request: Request, _: Caller) -> Response:
        accepted(request)
        query = service_pb2.GetChannelImportanceRequest(model=request.path_params["model"])
        read_query(request.query_params.multi_items(), query)
        data = query.SerializeToString()
        return await asyncio.to_thread(lambda: as_json(service.get_channel_importance(data)))

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        return JSONResponse({"status": "ready" if service.ready else "not ready"}, 200 if service.ready else 503)

    async def to_docs(_: Request) -> Response:
        return RedirectResponse("docs")

    async def wrong_place(request: Request, error: Exception) -> Response:
        """What no route takes: raised by Starlette, answered like every other error."""
        assert isinstance(error, HTTPException)
        allow = (error.headers or {}).get("Allow", "")
        if error.status_code == 405 and request.method == "OPTIONS":
            return Response(status_code=204, headers=error.headers)

        async def refuse(_: Request, __: Caller) -> Response:
            if error.status_code != 404:
                raise Refused(error.status_code, error.detail, field="method", value=request.method, allowed=allow)
            path, allowed = request.url.path, "the paths that /docs lists"
            raise NotFound("REQUEST_MALFORMED", "no such page", field="path", value=path, allowed=allowed)

        response = await _guarded(service, refuse)(request)
        response.headers.update(error.headers or {})
        return response

    app = Starlette(
        routes=[
            Route("/v1/models/{model:name}:explain", _guarded(service, explain), methods=["POST"]),
            Route("/v1/models/{model:name}:predict", _guarded(service, predict), methods=["POST"]),
            Route("/v1/models", _guarded(service, list_models)),
            Route("/v1/models/{model:name}", _guarded(service, get_model)),
            Route("/v1/models/{model:name}/channels", _guarded(service, get_channel_importance)),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/openapi.json", rest_docs.openapi),
            Route("/docs", rest_docs.docs),
            Route("/", to_docs),
        ],
        exception_handlers={HTTPException: wrong_place},
        middleware=[Middleware(_InFlight, service=service)],
    )
    app.router.redirect_slashes = False  # a photo is not sent twice for a slash
    return app


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


def _guarded(service: Service, run: Handler) -> Callable[[Request], Awaitable[Response]]:
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
    status = error.status if isinstance(error, Refused) else HTTP_STATUS.get(error.code_name, 500)
    if error.reason == "INPUT_TOO_LARGE":
        status = 413
    body = {
        "type": "about:blank",
        "title": error.code_name,
        "status": status,
        "detail": error.message,
        "reason": error.reason,
        "request_id": caller.request_id,
    }
    body |= {key: value for key in ("field", "value", "allowed") if (value := getattr(error, key))}
    again = isinstance(error, ResourceExhausted | Unavailable)
    headers = {"retry-after": str(math.ceil(RETRY_SECONDS))} if again else None
    return JSONResponse(body, status, headers, media_type=PROBLEM_TYPE)
