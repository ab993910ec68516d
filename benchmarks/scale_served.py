"""Served throughput against workers, cores and the size of batches.

All services run at once, and take turns: one that is not asked uses next to nothing but its memory, a gigabyte each.
The generator is not bound to the service's cores: with fewer than there are, it has the others for itself.
"""

import asyncio
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import usable_cores
from benchmarks.soak.ask import OK, Asker
from benchmarks.soak.load import Generator, summary
from benchmarks.soak.mix import PHOTOS, Kind, Mix, photo
from benchmarks.turns import Times, ratio, take_turns
from showcause.manifest import read_manifest
from tests.serving import Running, start

Rows = list[tuple[str, dict[str, float]]]
WISHES = {"predict": {}, "explain": {"map_dtype": "float16"}}
PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Shape:
    """A way to serve a model."""

    workers: int
    cores: int
    batch: int

    @property
    def name(self) -> str:
        return f"{_many(self.workers, 'worker')}, {_many(self.cores, 'core')}, batch up to {self.batch}"


def shapes(cores: int, batch: int) -> list[Shape]:
    """The usual one first, and those that differ from it in one thing. batch: of the model's folder."""
    usual = Shape(1, cores, batch)
    fewer = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return list(
        dict.fromkeys(
            [usual, Shape(2, cores, batch)]
            + [Shape(1, count, batch) for count in fewer]
            + [Shape(1, cores, size) for size in (1, 4, 8, 16)]
        )
    )


def served(store: Path, model: str, rounds: int, requests: int, callers: int) -> tuple[Rows, Times]:
    """Seconds of so many requests by that many callers, and throughput as a ratio to that of the usual shape."""
    wanted = shapes(usable_cores(), read_manifest(store / model).serving.batch_size)
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        generators: dict[str, Generator] = {}
        photos = {name: photo(name) for name in PHOTOS}
        for shape in wanted:
            running = stack.enter_context(serving(store, model, shape, queue=callers))
            asker = runner.run(_connected(running))
            stack.callback(lambda asker=asker: runner.run(asker.__aexit__()))
            rights = {(model, name): runner.run(asker.learn(model, data)) for name, data in photos.items()}
            for wish, settings in WISHES.items():
                mix = Mix([Kind(model, wish, "unary", 1, settings)], photos, rights)
                generators[f"served {wish}, {shape.name}"] = Generator(asker.ask, mix, 0, "scale")

        def ask(generator: Generator) -> None:
            found = summary(runner.run(generator.closed_loop(callers, math.inf, requests)))
            if found.buckets != {OK: requests}:
                raise SystemExit(f"not everything was answered: {found.buckets}")

        contestants = {name: lambda made=made: ask(made) for name, made in generators.items()}
        times = take_turns(contestants, rounds, "served")
    usual, *others = wanted
    rows = [
        (f"throughput {wish}: {other.name} / {usual.name}",
         ratio(times, f"served {wish}, {usual.name}", f"served {wish}, {other.name}"))
        for wish in WISHES
        for other in others
    ]  # fmt: skip
    return rows, times


@contextmanager
def serving(store: Path, model: str, shape: Shape, queue: int) -> Iterator[Running]:
    """A service of that shape, while it lasts."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        with_batch(store / model, Path(folder) / model, shape.batch)
        with on_cores(shape.cores):
            arguments = ("--model-store", folder, "--workers", str(shape.workers), "--queue-size", str(queue))
            running = start(model, *arguments)
        try:
            if not running.grpc:
                raise SystemExit(f"the service did not start:\n{running.output}")
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()


def with_batch(folder: Path, copy: Path, size: int) -> None:
    """Copies a model folder, and sets the size of its batches."""
    shutil.copytree(folder, copy)
    path = copy / "model.toml"
    text, found = re.subn(r"(?m)^batch_size\s*=\s*\d+", f"batch_size = {size}", path.read_text())
    if found != 1:
        raise ValueError(f"{folder}/model.toml says batch_size {found} times; once is needed")
    path.write_text(text)


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Processes that are started meanwhile have so many cores, where the system can bind them."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def photos_a_second(times: Times, requests: int) -> Mapping[str, float]:
    """The median over rounds, of what was served."""
    return {
        name: requests / sorted(values)[len(values) // 2]
        for name, values in times.items()
        if name.startswith("served ")
    }


async def _connected(running: Running) -> Asker:
    """Connections belong to the loop in which they are made."""
    return Asker(running.grpc, running.rest, PATIENCE_SECONDS)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
