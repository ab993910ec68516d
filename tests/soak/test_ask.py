"""The load generator notices what a service does wrong: a bench that cannot fail would be worthless."""

import asyncio
import json

import grpc
import httpx
import pytest

from benchmarks.soak.ask import NO_ANSWER, NOT_OURS, OK, TWICE, UNREADABLE, WRONG, judged_response
from showcause.v1 import service_pb2
from tests.soak.conftest import RIGHT, event, refuse, reply, request, request_id


async def right(_, context):
    return reply(request_id(context)).SerializeToString()


async def silent(_, context):
    await asyncio.sleep(60)


async def to_another(_, context):
    return reply("somebody-else").SerializeToString()


async def wrong_class(_, context):
    return reply(request_id(context), index=4).SerializeToString()


async def wrong_logit(_, context):
    return reply(request_id(context), logit=1.4).SerializeToString()


async def empty(_, context):
    return b""


async def garbage(_, context):
    return b"\xff\xff"


async def full(_, context):
    await refuse(context, retry_seconds=2.0)


async def full_without_a_delay(_, context):
    await refuse(context, retry_seconds=0.0)


async def bare_error(_, context):
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "said by the transport")


async def crash(_, context):
    raise RuntimeError("a handler's own")


@pytest.mark.parametrize(
    ("answer", "bucket"),
    [
        (right, OK),
        (silent, NO_ANSWER),
        (to_another, NOT_OURS),
        (wrong_class, WRONG),
        (wrong_logit, WRONG),
        (empty, NOT_OURS),
        (garbage, UNREADABLE),
        (full, "RESOURCE_EXHAUSTED/QUEUE_FULL"),
        (full_without_a_delay, "RESOURCE_EXHAUSTED/QUEUE_FULL without a delay"),
        (bare_error, "TRANSPORT/RESOURCE_EXHAUSTED"),
        (crash, "TRANSPORT/UNKNOWN"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_call_ends_in_its_bucket(asker, run, answer, bucket):
    async def ask():
        async with asker(unary=answer) as one:
            return await one.ask(request(), "id-1")

    assert [each.bucket for each in run(ask())] == [bucket]


def test_nobody_there_and_a_service_that_goes_away_in_the_middle(asker, run):
    async def ask():
        async with asker(unary=silent, patience_seconds=5) as one:
            asking = asyncio.create_task(one.ask(request(), "id-1"))
            await asyncio.sleep(0.2)
            await one.server.stop(0)
            return [*await asking, *await one.ask(request(), "id-2")]

    buckets = [each.bucket for each in run(ask())]
    assert all(bucket.startswith("TRANSPORT/") for bucket in buckets), buckets


def streaming(*events):
    """A service that answers a stream so, whatever it is sent; each event is a function of the request id."""

    async def answer(incoming, context):
        async for _ in incoming:
            pass
        for each in events:
            yield each(request_id(context))

    return answer


def answered(number, rank=None, **wrong):
    rank = number + 1 if rank is None else rank
    return lambda own: event(str(number), response=reply(f"{own}.{rank}", **wrong))


def failed(number, **retry):
    error = service_pb2.StreamError(code=8, reason=service_pb2.ERROR_REASON_QUEUE_FULL, message="full", **retry)
    return lambda own: event(str(number), error=error)


def progress(number):
    return lambda own: event(str(number), progress=service_pb2.Progress(done_count=1))


@pytest.mark.parametrize(
    ("events", "buckets"),
    [
        ([answered(0), progress(1), answered(1)], [OK, OK]),
        ([answered(1), answered(0)], [OK, OK]),
        ([answered(0)], [OK, NO_ANSWER]),
        ([answered(0), answered(0), answered(1)], [TWICE, OK]),
        ([answered(0), answered(1, rank=1)], [OK, NOT_OURS]),
        ([answered(0), answered(1, index=9)], [OK, WRONG]),
        ([answered(0), answered(1), answered(7)], [NOT_OURS, NOT_OURS]),
        ([answered(0), lambda own: b"\xff"], [NOT_OURS, NOT_OURS]),
        ([answered(0), failed(1, retry_delay_seconds=1)], [OK, "RESOURCE_EXHAUSTED/QUEUE_FULL"]),
        ([answered(0), failed(1)], [OK, "RESOURCE_EXHAUSTED/QUEUE_FULL without a delay"]),
    ],
    ids=[
        "all",
        "other order",
        "one lost",
        "one twice",
        "swapped",
        "wrong",
        "unknown id",
        "garbage",
        "refused",
        "no delay",
    ],
)
def test_every_photo_of_a_stream_ends_in_its_bucket(asker, run, events, buckets):
    async def ask():
        async with asker(stream=streaming(*events)) as one:
            return await one.ask(request("stream", 2), "id-1")

    assert [each.bucket for each in run(ask())] == buckets


def test_photos_of_a_stream_that_hangs_or_fails_have_no_answer(asker, run):
    async def hang(incoming, context):
        yield answered(0)(request_id(context))
        await asyncio.sleep(60)

    async def fail(incoming, context):
        yield answered(0)(request_id(context))
        await refuse(context, retry_seconds=1.0)

    async def ask(answer):
        async with asker(stream=answer) as one:
            return [each.bucket for each in await one.ask(request("stream", 2), "id-1")]

    assert run(ask(hang)) == [OK, NO_ANSWER]
    assert run(ask(fail)) == [OK, "RESOURCE_EXHAUSTED/QUEUE_FULL"]


@pytest.mark.parametrize(
    ("status", "header", "body", "bucket"),
    [
        (200, "a", {"request_id": "a", "predictions": [{"index": 3, "logit": 1.5}]}, OK),
        (200, "a", {"request_id": "b", "predictions": [{"index": 3, "logit": 1.5}]}, NOT_OURS),
        (200, "b", {"request_id": "a", "predictions": [{"index": 3, "logit": 1.5}]}, NOT_OURS),
        (200, "a", {"request_id": "a", "predictions": [{"logit": 1.5}]}, WRONG),
        (200, "a", {"request_id": "a", "predictions": []}, UNREADABLE),
        (200, "a", [], UNREADABLE),
        (503, "a", {"request_id": "a", "title": "UNAVAILABLE", "reason": "X"}, "UNAVAILABLE/X"),
        (
            429,
            "a",
            {"request_id": "a", "title": "RESOURCE_EXHAUSTED", "reason": "QUEUE_FULL"},
            "RESOURCE_EXHAUSTED/QUEUE_FULL without a delay",
        ),
        (500, None, {}, "TRANSPORT/HTTP 500"),
    ],
)
def test_every_http_response_ends_in_its_bucket(status, header, body, bucket):
    headers = {} if header is None else {"x-request-id": header}
    assert judged_response(httpx.Response(status, headers=headers, text=json.dumps(body)), "a", RIGHT) == bucket
