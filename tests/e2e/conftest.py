"""The real service, ended whatever becomes of the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from showcause import Client
from tests.serving import Running, start


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
