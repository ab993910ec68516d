"""What each process of the service holds over time, and by how much it grows."""

import statistics
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

from tests.processes import proportional_mb, resident_mb, roles

FEWEST_SAMPLES = 8  # below that, quarters have no medians worth the name


@dataclass(frozen=True)
class Sample:
    """at: seconds by ``time.monotonic``. rss: resident MB. pss: the same, shared pages divided; nan where not read."""

    at: float
    rss: float
    pss: float


@dataclass
class Held:
    """One process's samples; one that takes the place of a killed process counts anew."""

    role: str
    samples: list[Sample] = field(default_factory=list)

    def growth_mb(self, warm_up_seconds: float) -> float | None:
        """Median of the last quarter less that of the first, after its warm-up; None where it lived too shortly."""
        began = self.samples[0].at + warm_up_seconds
        values = [sample.rss for sample in self.samples if sample.at >= began]
        if len(values) < FEWEST_SAMPLES:
            return None
        quarter = len(values) // 4
        return statistics.median(values[-quarter:]) - statistics.median(values[:quarter])


class Memory:
    """Looks at every process below a gateway, in a thread of its own, while it is entered."""

    def __init__(self, gateway: int, every_seconds: float):
        self._gateway, self._every, self._over = gateway, every_seconds, threading.Event()
        self.held: dict[int, Held] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def growth_mb(self, warm_up_seconds: float) -> dict[str, float]:
        """The largest growth of any process, by role."""
        found: dict[str, list[float]] = defaultdict(list)
        for held in self.held.values():
            if (growth := held.growth_mb(warm_up_seconds)) is not None:
                found[held.role].append(growth)
        return {role: round(max(values), 1) for role, values in found.items()}

    def lives(self) -> list[dict[str, object]]:
        """Each process in numbers: how long it was watched, and what it held at first, at most and at last."""
        return [
            {
                "role": held.role,
                "seconds": round(held.samples[-1].at - held.samples[0].at, 1),
                "first_rss_mb": round(held.samples[0].rss, 1),
                "most_rss_mb": round(max(sample.rss for sample in held.samples), 1),
                "last_rss_mb": round(held.samples[-1].rss, 1),
                "last_pss_mb": round(held.samples[-1].pss, 1),
            }
            for held in self.held.values()
        ]

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            for pid, role in roles(self._gateway).items():
                try:
                    rss = resident_mb(pid)
                except OSError:
                    continue  # it ended meanwhile
                try:
                    pss = proportional_mb(pid)
                except OSError:
                    pss = float("nan")
                held = self.held.setdefault(pid, Held(role))
                held.samples.append(Sample(time.monotonic(), rss, pss))
