"""How everything here is measured: contestants take turns, and ratios are those within a round."""

import io
import statistics
import time
from collections.abc import Callable

import skimage.data
from PIL import Image
from rich.console import Console
from rich.progress import track

Times = dict[str, list[float]]  # seconds, by contestant, one entry a round
console = Console()


def take_turns(contestants: dict[str, Callable[[], object]], rounds: int, title: str) -> Times:
    """Each contestant once a round, after one unmeasured round."""
    times: Times = {name: [] for name in contestants}
    for number in track(range(rounds + 1), description=title, console=console):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if number:
                times[name].append(time.perf_counter() - began)
    return times


def ratio(times: Times, one: str, other: str, each: float = 1.0) -> dict[str, float]:
    """How many times as long ``one`` takes as ``other``, times ``each``: median and quartiles over the rounds."""
    ratios = [each * a / b for a, b in zip(times[one], times[other], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"median": middle, "low": low, "high": high}


def jpeg() -> bytes:
    """A photo of a cat, 451 x 300."""
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.chelsea()).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
