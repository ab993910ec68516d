"""`make load`: the served model with more and more callers, and at rising rates up to where it no longer keeps up.

python benchmarks/load.py                                    animals-bcos, 20 s a step: about 12 minutes
python benchmarks/load.py --photos FOLDER --model NAME --model-store STORE
python benchmarks/load.py --callers 1 8 128 -- --workers 2 --gpus 1    what follows -- goes to `showcause serve`

It takes two full batches to keep a worker busy: the most callers should be no fewer than that for each worker.

Three wishes: a prediction; an explanation with its float16 map; the same with the overlay picture. Closed loops (so
many callers, each asks again when it has its answer) find the capacity, open loops (Poisson arrivals, whatever the
service does) at shares of it find the knee, and what callers wait on the way there. The generator shares the cores with
the service; what it took of them stands beside each step, and what others on the machine took: a step beside which they
took more than a few hundredths says little.
"""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.load_picture import draw
from benchmarks.load_tables import load_name, tables
from benchmarks.machine import cpu_name, usable_cores
from benchmarks.meter import Look, Used, look, used
from benchmarks.soak.ask import OK, Asker
from benchmarks.soak.bench import read
from benchmarks.soak.knee import rate_at_the_knee
from benchmarks.soak.load import Generator, Load, Summary, summary
from benchmarks.soak.mix import PHOTOS, Kind, Mix, photo
from benchmarks.soak.report import finite
from benchmarks.turns import console
from showcause import __version__
from showcause.paths import top_level
from tests.serving import Running, start

HERE = Path(__file__).parent
WISHES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "predict": ("predict", {}),
    "explain": ("explain", {"map_dtype": "float16"}),
    "explain + overlay": ("explain", {"map_dtype": "float16", "pictures": ("overlay",)}),
}
CALLERS = (1, 8, 64)
SHARES = (0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5)  # of the capacity that the closed loops found
# Below the knee nine of ten photos wait no longer than so many times the median of a lone caller: for a batch that has
# begun, and in their own, each of five photos.
BEARABLE = 10
FEW_CORES = 0.1  # that others may take while a step is measured
MOST_PHOTOS = 32
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Step:
    """One wish under one load. callers: of a closed loop; 0 in an open one. share: of the capacity, in an open loop.
    offered: photos a second that were sent. generator_cpu_ms: of an answered photo."""

    wish: str
    callers: int
    share: float
    offered: float
    found: Summary
    used: Used
    generator_cpu_ms: float


class Bench:
    """One model of a running service. seconds: of a step. callers: of closed loops."""

    def __init__(self, running: Running, asker: Asker, model: str, seconds: float, callers: Sequence[int], seed: int):
        self.running, self.asker, self.model = running, asker, model
        self.seconds, self.callers, self.seed = seconds, callers, seed

    async def look(self) -> Look:
        text = await asyncio.to_thread(read, f"{self.running.metrics}/metrics")
        return look(self.running.process.pid, text, self.model)

    async def step(self, wish: str, load: Awaitable[Load], callers: int = 0, share: float = 0.0) -> Step:
        before = await self.look()
        done = await load
        found = summary(done)
        answered = found.buckets.get(OK, 0)
        taken = used(before, await self.look(), answered, done.cpu_seconds)
        offered = found.throughput if callers else done.started / self.seconds
        made = Step(wish, callers, share, offered, found, taken, 1000 * done.cpu_seconds / max(1, answered))
        rate = f"{found.throughput:.1f} of {offered:.1f} photos/s" if share else f"{found.throughput:.1f} photos/s"
        console.print(f"{wish}, {load_name(made)}: {rate}, p90 {1000 * found.accepted.p90:.0f} ms")
        return made

    async def wish(self, name: str, mix: Mix) -> list[Step]:
        """Closed loops, then open ones, after one that is not measured."""
        generator = Generator(self.asker.ask, mix, self.seed, "load")
        await generator.closed_loop(max(self.callers), self.seconds / 2)
        closed = [
            await self.step(name, generator.closed_loop(callers, self.seconds), callers=callers)
            for callers in self.callers
        ]
        most = capacity(closed, name)
        return closed + [
            await self.step(name, generator.open_loop(share * most, self.seconds), share=share) for share in SHARES
        ]


def capacity(steps: Sequence[Step], wish: str) -> float:
    """Photos a second: the most that a closed loop got."""
    return max(step.found.throughput for step in steps if step.wish == wish and step.callers)


def knee(steps: Sequence[Step], wish: str) -> float | None:
    """Photos a second that can be borne; see ``rate_at_the_knee``."""
    alone = min((step for step in steps if step.wish == wish and step.callers), key=lambda step: step.callers).found
    rising = [(step.offered, step.found) for step in steps if step.wish == wish and step.share]
    return rate_at_the_knee(rising, BEARABLE * alone.accepted.p50)


async def measure(
    running: Running, model: str, photos: Mapping[str, bytes], seconds: float, callers: Sequence[int], seed: int
) -> list[Step]:
    async with Asker(running.grpc, running.rest, PATIENCE_SECONDS) as asker:
        rights = {(model, name): await asker.learn(model, data) for name, data in photos.items()}
        mixes = {
            name: Mix([Kind(model, operation, "unary", 1, wishes)], photos, rights)
            for name, (operation, wishes) in WISHES.items()
        }
        # The JVM compiles its code in the first thousand requests: until then it takes several ms more for each.
        await Generator(asker.ask, mixes["predict"], seed, "warm").closed_loop(max(callers), seconds)
        bench = Bench(running, asker, model, seconds, callers, seed)
        return [step for name, mix in mixes.items() for step in await bench.wish(name, mix)]


def photos_of(folder: Path | None) -> dict[str, bytes]:
    """By name: the folder's JPEGs, or scikit-image's."""
    if folder is None:
        return {name: photo(name) for name in PHOTOS}
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))[:MOST_PHOTOS]
    if not paths:
        raise SystemExit(f"{folder} has no .jpg")
    return {path.name: path.read_bytes() for path in paths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of each of the 30 steps (%(default)g)")
    parser.add_argument(
        "--callers", type=int, nargs="+", default=CALLERS, help="of closed loops, a lone one among them (1 8 64)"
    )
    parser.add_argument("--model", default="animals-bcos", help="the one that is served and asked (%(default)s)")
    parser.add_argument("--model-store", type=Path, default=top_level("model_store"), help="folder of models")
    parser.add_argument("--photos", type=Path, help=f"folder of JPEGs, {MOST_PHOTOS} at most (scikit-image's)")
    parser.add_argument("--seed", type=int, default=0, help="what is drawn, and when it arrives (%(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for the figures (%(default)s)")
    parser.add_argument("--picture", type=Path, default=HERE / "load.png", help="(%(default)s)")
    parser.add_argument("serve", nargs="*", help="settings of `showcause serve`, after --")
    options = parser.parse_args()

    photos = photos_of(options.photos)
    running = start(options.model, "--model-store", str(options.model_store), *options.serve)
    try:
        if not running.grpc:
            raise SystemExit(f"the service did not start:\n{running.output}")
        steps = asyncio.run(measure(running, options.model, photos, options.seconds, options.callers, options.seed))
    finally:
        with suppress(ProcessLookupError):
            running.stop()

    capacities = {name: capacity(steps, name) for name in WISHES}
    knees = {name: knee(steps, name) for name in WISHES}
    machine = f"{cpu_name()}, {usable_cores()} cores, which the service and the load share"
    for table in tables(steps, f"{options.model}; {machine}"):
        console.print(table)
    for name in WISHES:
        bend = "below the lowest rate" if knees[name] is None else f"{knees[name]:.1f} photos/s"
        console.print(f"{name}: capacity {capacities[name]:.1f} photos/s, knee {bend}")
    others = max(step.used.others_cores for step in steps)
    if others > FEW_CORES:
        console.print(f"[bold]Others on this machine took up to {others:.2f} cores: measure again when they do not.")
    draw(steps, knees, options.picture)
    record = {
        "machine": machine,
        "showcause": __version__,
        "model": options.model,
        "serve": options.serve,
        "seconds": options.seconds,
        "callers": list(options.callers),
        "seed": options.seed,
        "photo_bytes": {name: len(data) for name, data in photos.items()},
        "capacity_photos_a_second": capacities,
        "knee_photos_a_second": knees,
        "knee": f"everything answered, 90% within {BEARABLE} times the median of a lone caller",
        "others_cores_at_most": others,
        "steps": [asdict(step) for step in steps],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{date.today().isoformat()}-{__version__}-load.json"
    path.write_text(json.dumps(finite(record), indent=2) + "\n")
    console.print(f"written to {path} and {options.picture}")


if __name__ == "__main__":
    main()
