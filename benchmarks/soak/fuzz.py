"""Hostile requests of every kind against the running service, and what came of them.

A fault is an answer of INTERNAL, UNKNOWN or UNAVAILABLE (a worker died of it), of 500 or another that is ours to
prevent, and none at all. Everything is drawn from one seed, so that a fault is found again by its number.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice

import grpc
import httpx
import skimage.data
from PIL import Image

from benchmarks.soak.ask import CHANNEL_OPTIONS
from benchmarks.soak.fuzz_messages import MODELS, messages
from benchmarks.soak.fuzz_rest import HttpRequest, http_requests
from benchmarks.soak.fuzz_sockets import garbage, poke
from benchmarks.soak.mix import SERVICE
from showcause.client.calls import explain_request
from showcause.errors import from_rpc_error
from showcause.v1 import service_pb2
from tests.hostile_images import accepted, encoded, refused
from tests.mutations import mutated, seeds

CALLERS = 16
PATIENCE_SECONDS = 90.0
SHARES = {"message": 50, "photo": 25, "rest": 20, "socket": 5}
FAULTS = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "no answer", "HTTP 5", "hung up")
NOT_OURS_TO_PREVENT = ("HTTP 504", "HTTP 501")  # too late; a method that nobody knows, or one that is no method at all
SHOWN = 200  # bytes of a request that a fault shows


@dataclass(frozen=True)
class Attempt:
    """number: in the order of the seed. what: a row of SHARES. target: a gRPC path, or an address."""

    number: int
    what: str
    target: str
    sent: bytes | HttpRequest


@dataclass
class Fuzzed:
    """outcomes: by kind of attempt and answer. faults: attempts with a bad answer, for people."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def attempts(addresses: list[str], seed: int) -> Iterator[Attempt]:
    """Hostile requests without end; addresses: of all ports, for garbage."""
    rng = random.Random(seed)
    image = Image.fromarray(skimage.data.chelsea())
    small = seeds(image)
    few = [encoded(image.resize((48, 40)), "JPEG"), encoded(image.resize((40, 48)), "PNG")]
    streams = {
        "message": messages(few, rng),
        "photo": _photos(small, rng),
        "rest": http_requests(few, rng),
        "socket": garbage(rng),
    }
    number = 0
    while True:
        (what,) = rng.choices(list(SHARES), list(SHARES.values()))
        sent = next(streams[what])
        target, body = sent if isinstance(sent, tuple) else (rng.choice(addresses), sent)
        yield Attempt(number, what, target, body)
        number += 1


def _photos(small: list[bytes], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Broken photos in good requests: those of the tables again and again, and others at random."""
    tables = _tables()
    while True:
        for photo in (*rng.sample(tables, len(tables)), *mutated(small, 250, rng.randrange(2**31))):
            wishes = {"pictures": ("overlay",)} if rng.random() < 0.2 else {}
            yield f"/{SERVICE}/Explain", explain_request(photo, model=rng.choice(MODELS), **wishes).SerializeToString()


@cache
def _tables() -> list[bytes]:
    """Some unpack to hundreds of megabytes: making them takes seconds."""
    image = Image.fromarray(skimage.data.chelsea()).resize((96, 64))
    return [data for data, *_ in refused(image).values()] + list(accepted(image).values())


class Fuzzer:
    """Sends attempts over connections of its own. address, rest, metrics: of the service."""

    def __init__(self, address: str, rest: str, metrics: str):
        self._addresses = [address, *(url.removeprefix("http://") for url in (rest, metrics))]
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._http = httpx.AsyncClient(base_url=rest, timeout=PATIENCE_SECONDS, trust_env=False)

    async def run(self, count: int, seed: int) -> Fuzzed:
        fuzzed, following = Fuzzed(), islice(attempts(self._addresses, seed), count)

        async def caller() -> None:
            for attempt in following:
                answer = await self._send(attempt)
                fuzzed.outcomes[f"{attempt.what}: {answer}"] += 1
                if answer.startswith(FAULTS) and not answer.startswith(NOT_OURS_TO_PREVENT):
                    fuzzed.faults.append(f"{answer}: seed {seed}, {attempt.number}: {attempt.target} {_shown(attempt)}")

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())
        await self._http.aclose()
        await self._channel.close()
        return fuzzed

    async def _send(self, attempt: Attempt) -> str:
        if isinstance(attempt.sent, HttpRequest):
            return await self._http_answer(attempt.sent)
        if attempt.what == "socket":
            line = (await poke(attempt.target, attempt.sent)).split(b"\r\n", 1)[0]
            return f"HTTP {line[9:12].decode()}" if line.startswith(b"HTTP/1.") else "no HTTP/1.1"
        if attempt.target.endswith("Stream"):
            return await self._stream_answer(attempt.target, attempt.sent)
        try:
            call = self._channel.unary_unary(attempt.target)(attempt.sent)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await call
        except TimeoutError:
            return "no answer"
        except grpc.aio.AioRpcError as error:
            return _status(error)
        return "OK"

    async def _stream_answer(self, path: str, message: bytes) -> str:
        """Of a stream of one message; the first event counts."""
        call = self._channel.stream_stream(path)(iter([message]))
        answer = "no answer"
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async for data in call:
                    event = service_pb2.ExplainStreamResponse.FromString(data)
                    answer = service_pb2.ErrorReason.Name(event.error.reason) if event.HasField("error") else "OK"
        except TimeoutError:
            call.cancel()
        except grpc.aio.AioRpcError as error:
            return _status(error)
        return answer.removeprefix("ERROR_REASON_")

    async def _http_answer(self, request: HttpRequest) -> str:
        try:
            response = await self._http.request(
                request.method, request.path, params=request.query, headers=request.headers, content=request.content
            )
        except httpx.TimeoutException:
            return "no answer"
        except httpx.TransportError as error:
            return f"hung up: {error}"
        return f"HTTP {response.status_code}"


def _status(error: grpc.aio.AioRpcError) -> str:
    failure = from_rpc_error(error)
    return f"{failure.code_name}/{failure.reason}"


def _shown(attempt: Attempt) -> str:
    return ascii(attempt.sent)[:SHOWN]
