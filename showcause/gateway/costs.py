"""What requests of a model cost, by what the worker measured of those before them. Imports no torch."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from showcause.v1 import service_pb2
from showcause.wire import PASS, PICTURE

SEEN = 9  # the last measurements, of which the median counts: one that stumbled says little
STALE_SECONDS = 60.0  # after which a measurement is none: whoever was refused because of it may have been wronged
MOST_TARGETS = 16  # the worker refuses more


class Costs:
    """Of one model version: seconds of a worker for a photo's pass, for each method and target, and for a picture."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, float]]] = {}  # when, seconds

    def learn(self, cost_seconds: Mapping[str, float]) -> None:
        now = time.monotonic()
        for name, seconds in cost_seconds.items():
            self._seen.setdefault(name, deque(maxlen=SEEN)).append((now, seconds))

    def of(self, name: str) -> float:
        """The median of the last measurements; 0 without any."""
        return median(seconds for _, seconds in self._seen[name]) if name in self._seen else 0.0

    def expected(
        self, request: service_pb2.ExplainRequest | service_pb2.PredictRequest, default_methods: Sequence[str]
    ) -> float:
        """Seconds of a worker that the request will take; what was not measured lately counts nothing."""
        return added_up(request, default_methods, self._lately)

    def _lately(self, name: str) -> float:
        fresh = [seconds for at, seconds in self._seen.get(name, ()) if time.monotonic() - at < STALE_SECONDS]
        return median(fresh) if fresh else 0.0


def added_up(
    request: service_pb2.ExplainRequest | service_pb2.PredictRequest,
    default_methods: Sequence[str],
    seconds_of: Callable[[str], float],
) -> float:
    """Seconds of a worker for all that a request asks for, by those of each step."""
    seconds = seconds_of(PASS)
    if isinstance(request, service_pb2.PredictRequest):
        return seconds
    methods = [method.WhichOneof("method") for method in request.methods] or default_methods
    targets = min(sum(max(target.top_k, 1) for target in request.targets), MOST_TARGETS) or 1
    drawn = len(set(request.output.pictures)) * seconds_of(PICTURE)
    return seconds + targets * sum(seconds_of(name) + drawn for name in methods if name)
