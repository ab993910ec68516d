"""Bytes that are not even the protocol: HTTP/2 frames and HTTP/1.1 lines that are broken, sent to open ports."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress

from benchmarks.soak import http2
from benchmarks.soak.mix import SERVICE

EXPLAIN = f"/{SERVICE}/Explain"
READ_SECONDS = 0.3  # a peer that waits for more says nothing in that time


def garbage(rng: random.Random) -> Iterator[bytes]:
    """What to send on a fresh connection, without end."""
    while True:
        (make,) = rng.choices((_noise, _frames, _call, _http1), (1, 3, 4, 4))
        yield make(rng)


async def poke(address: str, data: bytes) -> bytes:
    """Sends the bytes and hangs up; what came back, if anything. Raises OSError if nobody listens."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    try:
        with suppress(ConnectionError, TimeoutError):
            writer.write(data)
            async with asyncio.timeout(READ_SECONDS):
                await writer.drain()
                while chunk := await reader.read(65536):
                    answer += chunk
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return answer


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((1, 24, 500, 20000)))


def _frames(rng: random.Random) -> bytes:
    """A good hello, and frames of any kind, on any stream, of any length."""
    frames = [
        http2.frame(
            rng.choice((*range(10), 99, 255)),
            rng.randrange(256),
            rng.choice((0, 1, 2, 3, 2**31 - 1)),
            rng.randbytes(rng.choice((0, 1, 4, 5, 6, 8, 200))),
            rng.choice((None, None, None, 0, 3, 16384, 2**24 - 1)),
        )
        for _ in range(rng.choice((1, 3, 50)))
    ]
    return http2.PREFACE + http2.frame(http2.SETTINGS) + b"".join(frames)


def _call(rng: random.Random) -> bytes:
    """A call whose messages are framed wrongly, or whose headers are odd."""
    message = rng.randbytes(rng.randrange(200))
    framed = http2.grpc_message(
        message, rng.choice((None, 0, 1, len(message) + 1, 2**31, 2**32 - 1)), rng.choice((0, 0, 1, 2, 255))
    )
    path = rng.choice((EXPLAIN, EXPLAIN, f"/{SERVICE}/ExplainStream", "/", "", "no slash", f"/{SERVICE}/", "/x" * 60))
    odd = [
        ("grpc-timeout", rng.choice(("0n", "-1S", "99999999H", "x", "1"))),
        ("grpc-encoding", rng.choice(("gzip", "br", "identity"))),
        ("content-type", "text/plain"),
        (":method", "GET"),
        ("x-request-id", "\x7f"),
        ("Upper", "case"),
        ("grpc-status-details-bin", "!!!"),
    ]
    block = http2.grpc_headers(path) + http2.header_block(rng.sample(odd, rng.randrange(3)))
    data = http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, block)
    data += http2.frame(http2.DATA, rng.choice((0, http2.END_STREAM)), 1, framed)
    return data + rng.choice(
        (b"", http2.frame(http2.RST_STREAM, 0, 1, bytes(4)), http2.frame(http2.DATA, 0, 1, framed))
    )


def _http1(rng: random.Random) -> bytes:
    """Lines, headers, lengths and chunks that contradict each other."""
    line = rng.choice(
        (
            b"POST /v1/models/animals-bcos:explain HTTP/1.1",
            b"GET / HTTP/9.9",
            b"GET /" + b"a" * 70000 + b" HTTP/1.1",
            b"GET http://127.0.0.1:1/ HTTP/1.1",
            b"CONNECT 127.0.0.1:22 HTTP/1.1",
            b"\0\r\n",
            b"GET /metrics HTTP/1.1",
            b"get /\xff HTTP/1.1",
        )
    )
    headers = rng.sample(
        (
            b"host: x",
            b"content-length: 5",
            b"content-length: 6",
            b"content-length: -1",
            b"content-length: 99999999999999999999999",
            b"transfer-encoding: chunked",
            b"transfer-encoding: gzip, chunked",
            b"content-type: image/jpeg",
            b"content-type: multipart/form-data; boundary=" + b"b" * 9000,
            b"expect: 100-continue",
            b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AA==",
            b"upgrade: h2c\r\nconnection: upgrade\r\nhttp2-settings: AA",
            b"x: " + b"y" * 100_000,
            b"no colon",
            b": no name",
            b" folded",
        ),
        rng.randrange(6),
    )
    body = rng.choice(
        (b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"5;" + b"e" * 20000)
    )
    return b"\r\n".join((line, *headers, b"", body))
