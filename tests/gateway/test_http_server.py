"""HTTP on a real socket: clients that are slow on purpose, and TLS."""

import asyncio
import socket
import ssl
import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from showcause.gateway import http_server
from showcause.gateway.http_server import HttpServer
from showcause.gateway.settings import Settings
from showcause.tls import Tls
from tests.certificates import Authority

HEAD = b"POST /echo HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n"
LARGE = 32 << 20


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def refuse(_: Request) -> PlainTextResponse:
    return PlainTextResponse("no", 401)


async def large(_: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * LARGE)


APP = Starlette(
    routes=[Route("/echo", echo, methods=["POST"]), Route("/refuse", refuse, methods=["POST"]), Route("/large", large)]
)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(http_server, "STALLED_SECONDS", 0.3)


def serving(run, tmp_path, tls: Tls | None = None, app: ASGIApp = APP):
    """What ``run(server)`` gives while the application is served."""

    async def whole():
        server = HttpServer(app, 0, Settings(tmp_path, tls=tls))
        await server.start()
        try:
            return await asyncio.wait_for(run(server), 20)
        finally:
            await server.stop()

    return asyncio.run(whole())


async def connected(server: HttpServer):
    return await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))


async def seconds_until_closed(reader: asyncio.StreamReader) -> float:
    began = time.monotonic()
    while await reader.read(65536):
        pass
    return time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", b"POST /echo HTTP/1.1\r\nhost: he"])
def test_a_head_that_does_not_come_is_not_waited_for(quick, tmp_path, sent):
    async def run(server):
        reader, writer = await connected(server)
        writer.write(sent)
        seconds = await seconds_until_closed(reader)
        writer.close()
        return seconds

    assert 0.2 < serving(run, tmp_path) < 5


def test_a_second_head_has_its_time_too_and_a_body_is_not_cut_off(quick, tmp_path):
    async def run(server):
        reader, writer = await connected(server)
        writer.write(HEAD % 3 + b"a")
        await asyncio.sleep(0.6)  # longer than a head may take
        writer.write(b"bc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(1) == b"3"
        writer.write(HEAD[:10])
        seconds = await seconds_until_closed(reader)
        writer.close()
        return seconds

    assert 0.2 < serving(run, tmp_path) < 5


def test_the_rest_of_a_request_that_was_refused_is_not_read_for_ever(quick, tmp_path):
    async def run(server):
        reader, writer = await connected(server)
        writer.write(HEAD.replace(b"echo", b"refuse") % 1000)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")

        async def drip():
            while not writer.is_closing():
                writer.write(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        try:
            return await seconds_until_closed(reader)
        except ConnectionResetError:
            return 0.3
        finally:
            dripping.cancel()
            writer.close()

    assert 0.2 < serving(run, tmp_path) < 5


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system does not watch over it")
@pytest.mark.parametrize("over_tls", [False, True])
def test_a_reply_that_nobody_takes_is_given_up_and_a_slow_reader_is_not(quick, tmp_path, over_tls):
    pair = (authority := Authority(tmp_path)).sign("server")
    tls = Tls(pair.certificate, pair.key) if over_tls else None
    context = ssl.create_default_context(cafile=authority.certificate) if over_tls else None

    async def run(server):
        port = int(server.url.rsplit(":", 1)[1])
        found = []
        for pause in (0.05, 3.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 20)
            writer.write(b"GET /large HTTP/1.1\r\nhost: here\r\n\r\n")
            size = len(await reader.read(1 << 16))
            try:
                await asyncio.sleep(pause)
                while chunk := await reader.read(1 << 20):
                    size += len(chunk)
                    if size >= LARGE:
                        break
                    await asyncio.sleep(min(pause, 0.05))
            except ConnectionError:
                pass
            found.append(size >= LARGE)
            writer.transport.abort()
        return found

    assert serving(run, tmp_path, tls) == [True, False]


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_reply_counts_as_sent_when_it_is(tmp_path, over_tls):
    """Not when it is buffered: a service that stops would cut it off, and so would the end of a TLS connection."""
    pair = (authority := Authority(tmp_path)).sign("server")
    tls = Tls(pair.certificate, pair.key) if over_tls else None
    context = ssl.create_default_context(cafile=authority.certificate) if over_tls else None
    sent = []

    async def app(scope, receive, send):
        await APP(scope, receive, send)
        sent.append(scope["path"])

    async def run(server):
        port = int(server.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET /large HTTP/1.1\r\nhost: here\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.5)
        assert sent == []
        assert await reader.readexactly(LARGE) == b"x" * LARGE
        await asyncio.sleep(0.1)
        assert sent == ["/large"]
        writer.close()

    serving(run, tmp_path, tls, app)


def test_tls_with_a_client_s_certificate(tmp_path):
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    server_pair, client_pair, wrong = authority.sign("server"), authority.sign("client"), stranger.sign("wrong")
    tls = Tls(server_pair.certificate, server_pair.key, authority.certificate)

    def context(pair) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=authority.certificate)
        if pair:
            made.load_cert_chain(pair.certificate, pair.key)
        return made

    async def run(server):
        assert server.url.startswith("https://")
        async with httpx.AsyncClient(verify=context(client_pair)) as client:
            assert (await client.post(f"{server.url}/echo", content=b"abc")).text == "3"
        for pair in (None, wrong):
            async with httpx.AsyncClient(verify=context(pair)) as client:
                with pytest.raises(httpx.TransportError):
                    await client.post(f"{server.url}/echo", content=b"abc")
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.TransportError):
                await client.post(f"{server.url}/echo".replace("https", "http"), content=b"abc")

    serving(run, tmp_path, tls)


def test_a_port_that_is_taken_is_named(tmp_path):
    async def run(server):
        port = int(server.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            HttpServer(APP, port, Settings(tmp_path))

    serving(run, tmp_path)
