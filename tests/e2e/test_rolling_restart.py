"""Two replicas behind client-side load balancing: both are restarted under load, and nothing is lost."""

import asyncio
import socket
import threading
import time
from collections import Counter

import pytest

from showcause.client import AsyncClient, Client
from showcause.errors import ShowcauseError, Unavailable
from tests.processes import children, wait_for_end

CALLERS = 4
MODEL = "animals-cnn"


class Load:
    """Callers that ask one after another, each over a client of its own, until they are stopped."""

    def __init__(self, address: str, photo: bytes):
        self.address, self.photo = address, photo
        self.answered, self.failed, self.stopping = Counter(), [], threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(CALLERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def _ask(self):
        with Client(self.address) as client:
            while not self.stopping.is_set():
                try:
                    reply = client.explain(self.photo, model=MODEL, methods=["grad_cam"])
                    self.answered[reply.predictions[0].label] += 1
                except ShowcauseError as error:
                    self.failed.append(error)


@pytest.fixture
def replica(launch):
    """Starts a service on a port."""
    return lambda port: launch(MODEL, "--grpc-port", str(port), "--max-connection-age-seconds", "5")


@pytest.fixture
def ports():
    """Two that replicas keep when they are started anew."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


def test_a_rolling_restart_under_load_loses_nothing(replica, ports, photo):
    running = [replica(port) for port in ports]
    address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    with Load(address, photo) as load:
        until(lambda: load.answered.total() >= 10)
        for place, port in enumerate(ports):
            below = children(running[place].process.pid)
            assert running[place].stop() == 0, running[place].output
            assert not wait_for_end(below)
            enough = load.answered.total() + 10
            until(lambda enough=enough: load.answered.total() >= enough)  # the other one has it all
            running[place] = replica(port)
            until(lambda place=place: requests_of(running)[place] > 0)  # as a rollout waits: minReadySeconds
        before = requests_of(running)
        until(lambda: all(now >= then + 5 for now, then in zip(requests_of(running), before, strict=True)))
    assert load.failed == []
    assert load.answered.keys() == {"cat"}
    assert min(requests_of(running)) > 5, "who came back has its share of the load again"


def test_calls_on_their_way_to_a_server_that_stops_go_to_the_other_one(replica, ports):
    """Many at once, so that some are on the wire in the moment in which it begins to stop."""
    running = [replica(port) for port in ports]

    async def ask(client, until, failed) -> int:
        answered = 0
        while time.monotonic() < until[0]:
            try:
                await client.models()
                answered += 1
            except ShowcauseError as error:
                failed.append(error)
        return answered

    async def story():
        failed, until = [], [time.monotonic() + 60]
        async with AsyncClient("ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)) as client:
            asking = [asyncio.create_task(ask(client, until, failed)) for _ in range(100)]
            await asyncio.sleep(1)
            code = await asyncio.to_thread(running[0].stop)
            until[0] = time.monotonic() + 0.5
            return code, sum(await asyncio.gather(*asking)), failed

    code, answered, failed = asyncio.run(story())
    assert code == 0
    assert answered > 500
    assert failed == []


def test_a_stream_that_is_cut_short_goes_on_at_the_other_replica(replica, ports, photo):
    """What was read is answered; the rest is sent again, by the same client."""
    running = [replica(port) for port in ports]
    address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    names, done, first, cut = [f"{number}.jpg" for number in range(60)], {}, threading.Event(), 0

    def photos(left):
        for name in left:
            yield name, photo

    def stop_one():
        first.wait()
        served = max(running, key=lambda each: len([line for line in each.lines if '"stream"' in line]))
        assert served.stop() == 0

    stopper = threading.Thread(target=stop_one)
    stopper.start()
    with Client(address) as client:
        while left := [name for name in names if name not in done]:
            try:
                for event in client.explain_stream(photos(left), model=MODEL, map_dtype=None):
                    assert event.error is None
                    assert event.id not in done, "answered once"
                    done[event.id] = event.reply.predictions[0].label
                    if len(done) == 10:
                        first.set()
            except Unavailable:
                cut += 1
    stopper.join(60)
    assert cut == 1
    assert done == dict.fromkeys(names, "cat")


def requests_of(running) -> list[int]:
    """How many each process has answered since it was started."""
    return [sum('"showcause.requests"' in line and '"code": "OK"' in line for line in each.lines) for each in running]


def until(happened, seconds: float = 60):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)
