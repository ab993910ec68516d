"""What `make load` found, for people: how fast, at what cost, and where the time went."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from benchmarks.meter import STAGES
from benchmarks.soak.ask import OK

if TYPE_CHECKING:
    from benchmarks.load import Step

ROLES = {"gateway": "gateway", "jvm": "JVM", "worker": "workers"}
NOT_ANSWERED = "not answered"


def tables(steps: "Sequence[Step]", title: str) -> list[Table]:
    """Four, of a row a step."""
    speed = [(step, *_speed(step)) for step in steps]
    cpu = [(step, *_cpu(step)) for step in steps]
    sizes = [(step, *_sizes(step)) for step in steps]
    stages = [(step, *_stages(step)) for step in steps]
    return [
        _table(title, ("offered/s", "answered/s", "p50 ms", "p90 ms", "p99 ms", NOT_ANSWERED), speed),
        _table("CPU ms of an answered photo", (*ROLES.values(), "generator", "its cores", "others' cores"), cpu),
        _table(
            "resident MB at the end, bytes of a photo, photos of a batch",
            (*ROLES.values(), "bytes in", "bytes out", "batch"),
            sizes,
        ),
        _table("ms of an answered photo, and the share of each stage", ("ms", *STAGES), stages),
    ]


def _speed(step: "Step") -> list[str]:
    accepted = step.found.accepted
    times = [f"{1000 * value:.0f}" for value in (accepted.p50, accepted.p90, accepted.p99)]
    failed = ", ".join(f"{count} {bucket}" for bucket, count in step.found.buckets.items() if bucket != OK)
    return [f"{step.offered:.1f}" if step.share else "", f"{step.found.throughput:.1f}", *times, failed or "none"]


def _cpu(step: "Step") -> list[str]:
    roles = [f"{step.used.cpu_ms.get(role, 0):.1f}" for role in ROLES]
    return [*roles, f"{step.generator_cpu_ms:.1f}", f"{step.found.cpu_share:.2f}", f"{step.used.others_cores:.2f}"]


def _sizes(step: "Step") -> list[str]:
    used = step.used
    roles = [f"{used.memory_mb.get(role, 0):.0f}" for role in ROLES]
    return [*roles, f"{used.bytes_in:.0f}", f"{used.bytes_out:.0f}", f"{used.batch:.1f}"]


def _stages(step: "Step") -> list[str]:
    shares = step.used.stage_shares()
    return [f"{sum(step.used.stage_ms.values()):.0f}", *(f"{100 * shares[stage]:.0f}%" for stage in STAGES)]


def _table(title: str, headings: Iterable[str], rows: "Iterable[tuple[Step, *tuple[str, ...]]]") -> Table:
    """Rows stand below the name of their wish."""
    table = Table(title=title)
    table.add_column("load")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == NOT_ANSWERED else "right")
    wish = ""
    for step, *cells in rows:
        if step.wish != wish:
            wish = step.wish
            table.add_section()
            table.add_row(f"[bold]{wish}")
        table.add_row(load_name(step), *cells)
    return table


def load_name(step: "Step") -> str:
    if step.callers:
        return "1 caller" if step.callers == 1 else f"{step.callers} callers"
    return f"open, {100 * step.share:.0f}%"
