"""How long the stages of a batch took, and what one of each step cost. Imports no torch."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable

from showcause.v1 import model_pb2
from showcause.wire import PASS


class Clock:
    """Adds up the time between laps, by stage; and what each method took, over how many targets, and all pictures."""

    def __init__(self, batch_size: int):
        self.batch_size, self.last = batch_size, time.perf_counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps: dict[str, tuple[int, float]] = {}
        self._counting = threading.Lock()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] += now - self.last
        self.last = now

    def count(self, step: str, times: int, seconds: float) -> None:
        with self._counting:  # items are answered side by side
            before, so_far = self.steps.get(step, (0, 0.0))
            self.steps[step] = before + times, so_far + seconds

    def cost(self, steps: Iterable[str]) -> dict[str, float]:
        """What one of each step has cost, and a photo's share of the pass, as ``Envelope`` has it."""
        cost = {PASS: (self.seconds["decode_seconds"] + self.seconds["forward_seconds"]) / self.batch_size}
        for name in steps:
            times, seconds = self.steps.get(name, (0, 0.0))
            cost |= {name: seconds / times} if times else {}
        return cost

    def timings(self, render_seconds: float) -> model_pb2.Timings:
        return model_pb2.Timings(**self.seconds, render_seconds=render_seconds, batch_size=self.batch_size)
