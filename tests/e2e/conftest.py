"""The real service: ``showcause serve`` as a user starts it, on free ports of 127.0.0.1."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from showcause import Client

START_SECONDS = 120
LINE = re.compile(r"serving gRPC on (\S+), REST on (http://\S+), metrics on (http://\S+)/metrics")


@dataclass
class Running:
    """One service process, its addresses, and what it has printed."""

    process: subprocess.Popen
    grpc: str = ""
    rest: str = ""
    metrics: str = ""
    lines: list[str] = field(default_factory=list)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)


def start(*arguments: str, program: tuple[str, ...] = (sys.executable, "-m", "showcause.cli"), **environment: str):
    """Starts ``showcause serve`` and waits until it serves or ends."""
    ports = ("--grpc-port", "0", "--rest-port", "0", "--metrics-port", "0")
    process = subprocess.Popen(
        [*program, "serve", *ports, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )
    running, serving = Running(process), threading.Event()

    def read() -> None:
        with process.stdout as lines:
            for line in lines:
                running.lines.append(line.rstrip())
                if match := LINE.search(line):
                    running.grpc, running.rest, running.metrics = match.groups()
                    serving.set()
        serving.set()

    threading.Thread(target=read, daemon=True).start()
    assert serving.wait(START_SECONDS), running.output
    return running


@pytest.fixture
def launch() -> Iterator[Callable[..., Running]]:
    """``start`` for one test: whatever becomes of the test, its services are ended."""
    started: list[Running] = []

    def launched(*arguments: str, **options: object) -> Running:
        started.append(start(*arguments, **options))
        return started[-1]

    yield launched
    for running in started:
        if running.process.poll() is None:
            running.process.kill()  # the JVM ends with it
            running.process.wait()


@pytest.fixture(scope="session")
def service(shipped: Path) -> Iterator[Running]:
    """The shipped model with small limits, so that tests can go over them cheaply."""
    running = start(
        "animals-bcos",
        "--model-store",
        str(shipped.parent),
        "--max-image-bytes",
        "3000000",
        "--max-image-pixels",
        "1000000",
    )
    if not running.grpc:
        pytest.fail(f"the service did not start:\n{running.output}")
    yield running
    assert running.stop() == 0, running.output


@pytest.fixture(scope="session")
def client(service: Running) -> Iterator[Client]:
    with Client(service.grpc) as client:
        yield client
