"""What every phase works with: the running service, load for it, and what is promised."""

import asyncio
import random
import re
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak.ask import OK, Asker
from benchmarks.soak.faults import Faults
from benchmarks.soak.load import REFUSALS, Generator, Load, Outcome, lost
from benchmarks.soak.memory import Memory
from benchmarks.soak.mix import MIX, PHOTOS, Mix, photo
from showcause.paths import top_level
from tests.serving import Running, start

MODELS = ("animals-bcos", "animals-cnn", "animals-parts")


@dataclass(frozen=True)
class Setting:
    """How long and how hard; seconds where nothing else is said.

    timeout: of the service, and queue: requests that wait for a model, at most; both are the service's own defaults.
    callers: steps on the way to the knee. share: of the capacity, for a load that is to be borne. warm_up: of a
    process, before its memory counts. growth_mb: what a process may grow by.
    """

    timeout: int = 60
    queue: int = 64
    callers: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    step: float = 15
    share: float = 0.8
    soak: float = 600
    kill_every: float = 20
    reload_every: float = 60
    hostile: float = 60
    overload: float = 60
    fuzzed: int = 10_000
    jvm: float = 60
    drain: float = 20
    sample_every: float = 1.0
    warm_up: float = 60
    growth_mb: float = 50


FULL = Setting()
SHORT = Setting(
    queue=8,
    callers=(8,),
    step=2,
    share=0.5,
    soak=12,
    kill_every=5,
    reload_every=7,
    hostile=3,
    overload=4,
    fuzzed=300,
    jvm=8,
    drain=3,
    sample_every=0.5,
    warm_up=2,
)
SETTINGS = {"full": FULL, "short": SHORT}


@dataclass(frozen=True)
class Promise:
    """kept: whether it was. found: the figures that say so. timed: whether it depends on how fast the machine is."""

    text: str
    kept: bool
    found: str
    timed: bool = False


@dataclass
class Findings:
    """What a phase found; figures are plain data."""

    phase: str
    promises: list[Promise] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def promise(self, text: str, kept: object, found: object, timed: bool = False) -> None:
        self.promises.append(Promise(text, bool(kept), str(found), timed))


@dataclass
class Bench:
    """One running service and all that is done to it."""

    setting: Setting
    seed: int
    say: Callable[[str], None]
    running: Running
    home: Path
    asker: Asker
    mix: Mix
    faults: Faults
    capacity: float = 0.0
    knee_callers: int = 0

    @property
    def pid(self) -> int:
        return self.running.process.pid

    @property
    def alive(self) -> bool:
        return self.running.process.poll() is None

    def generator(self, prefix: str, mix: Mix | None = None) -> Generator:
        return Generator(self.asker.ask, mix or self.mix, self.seed, prefix)

    def memory(self) -> Memory:
        return Memory(self.pid, self.setting.sample_every)

    async def gauges(self, name: str) -> Counter[str]:
        """A metric by model; see ``by_model``."""
        return by_model(await asyncio.to_thread(read, f"{self.running.metrics}/metrics"), name)

    async def gauge(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return (await self.gauges(name)).total()

    async def wrong_answers(self) -> list[str]:
        """Each request of the mix once, at rest: what is not answered right."""
        found = []
        for number, request in enumerate(self.mix.all()):
            answers = await self.asker.ask(request, f"check-{number}")
            found += [f"{request.kind.name}: {answer.bucket}" for answer in answers if answer.bucket != OK]
        return found


@asynccontextmanager
async def started(setting: Setting, seed: int, say: Callable[[str], None]) -> AsyncIterator[Bench]:
    """``showcause serve`` with the shipped models, in a temporary folder of its own, and connections to it."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        arguments = ("--model-store", str(top_level("model_store")), "--timeout-seconds", str(setting.timeout))
        arguments += ("--grace-seconds", str(2 * setting.timeout), "--queue-size", str(setting.queue))
        running = await asyncio.to_thread(lambda: start(*MODELS, *arguments, TMPDIR=folder))
        if not running.grpc:
            raise SystemExit(f"the service did not start:\n{running.output}")
        say(f"the service runs: gRPC on {running.grpc}, REST on {running.rest}, admin on {running.admin}")
        try:
            async with Asker(running.grpc, running.rest, patience_seconds=setting.timeout + 10) as asker:
                photos = {name: photo(name) for name in PHOTOS}
                rights = {
                    (model, name): await asker.learn(model, data) for model in MODELS for name, data in photos.items()
                }
                faults = Faults(running.process.pid, running.admin, random.Random(seed))
                mix = Mix(MIX, photos, rights)
                yield Bench(setting, seed, say, running, Path(folder), asker, mix, faults)
        finally:
            if running.process.poll() is None:
                running.process.terminate()
                try:
                    running.process.wait(60)
                except Exception:  # it does not drain: that is for a phase to say, and not to hang over
                    running.process.kill()
                    running.process.wait()
            if sys.exc_info()[0] is not None:
                say("the end of the service's log:\n" + "\n".join(running.lines[-40:]))


def unaccounted(load: Load, faults: Faults) -> list[Outcome]:
    """Failures without a known cause. Known are: a full queue; a deadline that could not be met from the start; a
    request in whose life workers were killed twice, which is given up; one in whose life a process was killed, and that
    could not be repeated before its deadline."""

    def known(outcome: Outcome) -> bool:
        met = [fault.what for fault in faults.done if outcome.sent - 1 <= fault.at <= outcome.ended]
        given_up = outcome.bucket == "INTERNAL/WORKER_DIED" and met.count("worker killed") >= 2
        late = outcome.bucket == "DEADLINE_EXCEEDED/DEADLINE_EXCEEDED" and any(what.endswith("killed") for what in met)
        return outcome.bucket in (OK, *REFUSALS) or given_up or late

    return [outcome for outcome in load.outcomes if not known(outcome)]


def account(findings: Findings, load: Load, faults: Faults) -> None:
    """The two promises that every load must keep."""
    missing, odd = lost(load), unaccounted(load, faults)
    ended = f"{load.started} photos sent, {len(load.outcomes)} ended"
    findings.promise("0 lost", not missing and load.started == len(load.outcomes), f"{len(missing)} lost; {ended}")
    findings.promise("every failure is accounted for", not odd, f"{len(odd)} are not: {_counted(odd)}")


def by_model(text: str, name: str) -> Counter[str]:
    """One of Prometheus's metrics, summed over all labels but the model; "" where it has none."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")):
            model = re.search(r'model="([^"]*)"', line)
            found[model[1] if model else ""] += float(line.split()[-1])
    return found


def _counted(outcomes: Sequence[Outcome]) -> dict[str, int]:
    return dict(Counter(f"{outcome.kind}: {outcome.bucket}" for outcome in outcomes).most_common())


def read(url: str) -> str:
    """What the service answers; a proxy that the environment names is for other hosts."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text
