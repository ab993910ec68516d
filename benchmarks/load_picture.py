"""What `make load` found, as a picture: latency against offered rate, and throughput against callers."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")  # no screen

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from PIL import Image

if TYPE_CHECKING:
    from benchmarks.load import Step

COLORS = {"p50": "#9ecae1", "p90": "#4292c6", "p99": "#08306b"}


def draw(steps: "Sequence[Step]", knees: Mapping[str, float | None], path: Path) -> None:
    """One panel for each wish, and one for all of them. knees: photos a second, by wish."""
    rows = (len(knees) + 2) // 2
    figure, grid = plt.subplots(rows, 2, figsize=(8, 2.9 * rows), layout="constrained")
    axes = list(grid.flat)
    for axis, (wish, knee) in zip(axes, knees.items(), strict=False):
        opened = sorted((step for step in steps if step.wish == wish and step.share), key=lambda step: step.offered)
        for name, color in COLORS.items():
            seconds = [getattr(step.found.accepted, name) for step in opened]
            axis.plot([step.offered for step in opened], [1000 * s for s in seconds], "o-", color=color, label=name)
        if knee is not None:
            axis.axvline(knee, color="#d94801", linestyle=":", label=f"knee, {knee:.1f}/s")
        axis.set(title=f"{wish}: latency", xlabel="photos/s offered", ylabel="ms", yscale="log")
        axis.set_xlim(left=0)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3)
    last = axes[len(knees)]
    for wish in knees:
        closed = [step for step in steps if step.wish == wish and step.callers]
        last.plot([step.callers for step in closed], [step.found.throughput for step in closed], "o-", label=wish)
    last.set(title="closed loops: throughput", xlabel="callers", ylabel="photos/s answered", xscale="log")
    callers = sorted({step.callers for step in steps if step.callers})
    last.set_xticks(callers, [str(number) for number in callers])
    last.minorticks_off()
    last.set_ylim(bottom=0)
    last.legend(fontsize="small")
    last.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=90)
    plt.close(figure)
    Image.open(buffer).convert("RGB").quantize(64).save(path, optimize=True)  # a third of the size
