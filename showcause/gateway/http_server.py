"""One address that speaks HTTP, with or without TLS: REST's, and that of the metrics. Imports no torch.

uvicorn limits how long a connection may be idle after a reply, and nothing else: clients that are slow on purpose would
hold connections for ever. Here the head of a request must arrive in time, and a reply must be taken.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from showcause.gateway.settings import Settings

PIECE_BYTES = 256 * 1024  # of a reply
LAST_WORDS_SECONDS = 1  # at the end, for replies that are still on their way out
HEAD_SECONDS = 10.0  # for a request's head, from the connection (or the TLS handshake, which has 60 s) or a reply on
STALLED_SECONDS = 30.0  # without a byte of the reply taken; the system's to watch, where it can (Linux)


class HttpServer:
    """Takes its port at once (0 becomes a free one), and answers between ``start`` and ``stop``.

    Raises OSError for an address that is taken.
    """

    def __init__(self, app: ASGIApp, port: int, settings: Settings):
        host, tls = settings.host, settings.tls
        self._socket = _bound(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            _in_pieces(app),
            http=_Protocol,
            ws="none",
            log_config=None,  # ours: see ``logs``
            log_level="warning",
            access_log=False,
            lifespan="off",
            loop="asyncio",  # grpc.aio does not share uvloop
            timeout_graceful_shutdown=LAST_WORDS_SECONDS,
        )
        config.load()
        if tls:
            config.ssl = tls.context()
        self._server = _Uvicorn(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it answers."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Takes no more connections, and lets replies go out."""
        self._server.should_exit = True
        if self._task is None:
            self._socket.close()
        else:
            await self._task


def _in_pieces(app: ASGIApp) -> ASGIApp:
    """Sends large bodies piece by piece, each when there is room: so a reply counts as sent when it is, not when it is
    buffered, and a client that is slow keeps its connection meanwhile.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_pieces(message: Message) -> None:
            body = message.get("body", b"")
            while len(body) > PIECE_BYTES:
                await send({"type": message["type"], "body": bytes(body[:PIECE_BYTES]), "more_body": True})
                body = memoryview(body)[PIECE_BYTES:]
            await send({**message, "body": bytes(body)} if "body" in message else message)

        await app(scope, receive, send_pieces)

    return run


class _Uvicorn(uvicorn.Server):
    """uvicorn without signal handlers: they would replace ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """uvicorn's, with a limit on how long a request's head may take. How long its body may, the application says."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_a_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_a_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._head is not None:
            self._head.cancel()

    def _expect_a_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
        self._head = self.loop.call_later(HEAD_SECONDS, self._close_unless_asked)

    def _close_unless_asked(self) -> None:
        """Also where a request was answered before it had arrived: its rest is not waited for longer."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_SECONDS * 1000))
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error}") from error
    return listener
