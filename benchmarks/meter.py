"""What a running service has used and said so far: two looks, and what lies between them.

CPU time and memory come from /proc, by role (gateway, jvm, worker), bytes, batches and stages from the service's own
/metrics.
"""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.processes import busy_seconds, cpu_seconds, resident_mb, roles

STAGES = ("upload", "queue", "engine", "decode", "forward", "explain", "render")
SERIES = {  # samples that are read, and what they are called here; each summed over all labels but the model
    "showcause_request_bytes_total": "bytes_in",
    "showcause_response_bytes_total": "bytes_out",
    "showcause_batch_size_sum": "batched",
    "showcause_batch_size_count": "batches",
    "showcause_request_latency_seconds_count": "requests",
}


@dataclass(frozen=True)
class Look:
    """at: seconds by ``time.monotonic``. busy: CPU seconds so far of the whole machine. cpu: the same by role. memory:
    resident MB, by role. said: counters of one model so far (``counters``)."""

    at: float
    busy: float
    cpu: Counter[str]
    memory: Counter[str]
    said: Counter[str]


@dataclass(frozen=True)
class Used:
    """Between two looks.

    others_cores: that neither the service nor the load used, but somebody else on this machine.
    cpu_ms: of each role, for an answered photo. memory_mb: resident at the end. bytes_in: of a request, refused ones
    too; bytes_out: of an answer. batch: photos that were computed together, on average; 0 where none was. stage_ms:
    where an answered photo's time went; decode, forward and explain are those of its whole batch.
    """

    others_cores: float
    cpu_ms: dict[str, float]
    memory_mb: dict[str, float]
    bytes_in: float
    bytes_out: float
    batch: float
    stage_ms: dict[str, float]

    def stage_shares(self) -> dict[str, float]:
        """Each stage's part of all of them."""
        total = sum(self.stage_ms.values())
        return {stage: ms / total if total else 0.0 for stage, ms in self.stage_ms.items()}


def look(gateway: int, metrics: str, model: str) -> Look:
    """gateway: its process id. metrics: what /metrics says now."""
    cpu: Counter[str] = Counter()
    memory: Counter[str] = Counter()
    for pid, role in roles(gateway).items():
        with suppress(OSError):  # it ended meanwhile
            cpu[role] += cpu_seconds(pid)
            memory[role] += resident_mb(pid)
    return Look(time.monotonic(), busy_seconds(), cpu, memory, counters(metrics, model))


def counters(metrics: str, model: str) -> Counter[str]:
    """Sums of one model's samples, by the names of ``SERIES`` and ``STAGES``."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.labels.get("model") != model:
                continue
            if sample.name in SERIES:
                found[SERIES[sample.name]] += sample.value
            elif sample.name == "showcause_stage_seconds_sum":
                found[sample.labels["stage"]] += sample.value
    return found


def used(before: Look, after: Look, answered: int, load_cpu_seconds: float) -> Used:
    """answered: photos meanwhile. load_cpu_seconds: of the generator."""
    said = {name: value - before.said[name] for name, value in after.said.items()}
    each = max(1, answered)
    ours = sum(after.cpu[role] - before.cpu[role] for role in after.cpu) + load_cpu_seconds
    return Used(
        others_cores=max(0.0, after.busy - before.busy - ours) / max(1e-9, after.at - before.at),
        cpu_ms={role: 1000 * (seconds - before.cpu[role]) / each for role, seconds in after.cpu.items()},
        memory_mb=dict(after.memory),
        bytes_in=said.get("bytes_in", 0) / max(1, said.get("requests", 0)),
        bytes_out=said.get("bytes_out", 0) / each,
        batch=said.get("batched", 0) / max(1, said.get("batches", 0)),
        stage_ms={stage: 1000 * said.get(stage, 0.0) / each for stage in STAGES},
    )
