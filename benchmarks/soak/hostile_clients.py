"""Callers that are slow, half there, or leave: nobody else may notice them. Each runs until it is cancelled."""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc

from benchmarks.soak import http2
from benchmarks.soak.ask import CHANNEL_OPTIONS
from benchmarks.soak.mix import SERVICE, Mix
from showcause.v1 import service_pb2

STREAM = f"/{SERVICE}/ExplainStream"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset, and not an orderly end


class HostileClients:
    """counts: what they did. http: addresses of the REST and metrics ports; grpc: of the service."""

    def __init__(self, address: str, http: list[str], mix: Mix, rng: random.Random):
        self._grpc, self._http, self._rng = address, http, rng
        self._explain = [each for each in mix.all() if each.path.endswith("/Explain")]
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """One of each kind, again and again."""
        async with asyncio.TaskGroup() as group:
            for act in (self._byte_by_byte, self._slow_upload, self._half_open, self._cancelled):
                group.create_task(self._again(act, 0.5))
            group.create_task(self._again(self._slow_reader, 20))  # what it leaves has been computed: that costs

    async def _again(self, act: Callable[[], Awaitable[None]], most_pause_seconds: float) -> None:
        while True:
            with suppress(OSError, grpc.aio.AioRpcError):
                await act()
            self.counts[act.__name__.strip("_").replace("_", " ")] += 1
            await asyncio.sleep(self._rng.uniform(0, most_pause_seconds))

    def _streamed(self) -> bytes:
        """A photo of a stream, still without its id."""
        request = service_pb2.ExplainRequest.FromString(self._rng.choice(self._explain).bodies[0])
        return service_pb2.ExplainStreamRequest(request=request).SerializeToString()

    async def _byte_by_byte(self) -> None:
        """A stream whose one message comes a byte at a time, and never whole."""
        body = _named("slow") + self._streamed()
        async with _Connection(self._grpc) as writer:
            writer.write(http2.opening(STREAM))
            for byte in http2.grpc_message(body)[: self._rng.randrange(20, 400)]:
                writer.write(http2.frame(http2.DATA, 0, 1, bytes([byte])))
                await writer.drain()
                await asyncio.sleep(0.01)

    async def _slow_upload(self) -> None:
        """A photo over REST, a byte at a time, and never whole."""
        head = b"POST /v1/models/animals-bcos:explain HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\n"
        async with _Connection(self._http[0]) as writer:
            writer.write(head + b"content-length: 50000\r\n\r\n")
            for byte in self._rng.randbytes(self._rng.randrange(20, 400)):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)

    async def _slow_reader(self) -> None:
        """A stream of many photos whose answers are read two a second, and which is left in the middle."""
        body = self._streamed()
        async with grpc.aio.insecure_channel(self._grpc, options=CHANNEL_OPTIONS) as channel:
            call = channel.stream_stream(STREAM)()

            async def send() -> None:
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    for number in range(40):
                        await call.write(_named(str(number)) + body)

            sending = asyncio.create_task(send())
            try:
                for _ in range(6):
                    if await call.read() is grpc.aio.EOF:
                        break
                    await asyncio.sleep(0.5)
            finally:
                sending.cancel()
                call.cancel()

    async def _half_open(self) -> None:
        """Connections that say nothing, or stop in the middle of saying hello; they end in order or with a reset."""
        hellos = [
            b"",
            http2.PREFACE[: self._rng.randrange(1, len(http2.PREFACE))],
            http2.PREFACE,
            http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(http2.HEADERS, 0, 1, b"\x00", length=16000),
            http2.opening(f"/{SERVICE}/Explain"),
            b"POST /v1/models/animals-bcos:explain HTTP/1.1\r\nhost: x\r\n",
        ]
        async with asyncio.TaskGroup() as group:
            for address in (self._grpc, *self._http):
                for hello in hellos:
                    group.create_task(self._hello(address, hello))

    async def _hello(self, address: str, hello: bytes) -> None:
        with suppress(OSError):
            async with _Connection(address, reset=self._rng.random() < 0.5) as writer:
                writer.write(hello)
                await writer.drain()
                await asyncio.sleep(self._rng.uniform(0, 5))

    async def _cancelled(self) -> None:
        """Good requests, left after a random while."""
        async with grpc.aio.insecure_channel(self._grpc, options=CHANNEL_OPTIONS) as channel:
            for _ in range(5):
                request = self._rng.choice(self._explain)
                call = channel.unary_unary(request.path)(request.bodies[0])
                await asyncio.sleep(self._rng.uniform(0, 0.3))
                call.cancel()
                await call.code()


def _named(name: str) -> bytes:
    """What a photo of a stream still lacks: serialised messages that follow each other are one."""
    return service_pb2.ExplainStreamRequest(id=name).SerializeToString()


class _Connection:
    """A plain TCP connection. reset: whether it ends with a reset."""

    def __init__(self, address: str, reset: bool = False):
        self._host, _, port = address.rpartition(":")
        self._port, self._reset = int(port), reset

    async def __aenter__(self) -> asyncio.StreamWriter:
        _, self._writer = await asyncio.open_connection(self._host, self._port)
        if self._reset:
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return self._writer

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
