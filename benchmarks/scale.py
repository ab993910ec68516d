"""`make scale`: how speed and cost go with workers, cores and batches, and with inputs, photos, classes and methods.

python benchmarks/scale.py                     everything: about a quarter of an hour
python benchmarks/scale.py --part bare         what a request costs a worker; two minutes
python benchmarks/scale.py --part served       throughput; six services at once on two cores, a gigabyte each

Contestants take turns; every figure is a ratio within a round, its median and the middle half of the rounds.
"""

import argparse
import json
import os
import statistics
import sys
from datetime import date
from pathlib import Path

import torch
from rich.table import Table

from benchmarks.machine import cpu_name, usable_cores
from benchmarks.scale_bare import by_classes, by_methods, by_photo, by_side, by_targets
from benchmarks.scale_served import photos_a_second, served
from benchmarks.stock_services import threading_as_ours
from benchmarks.turns import Times, console
from showcause import __version__
from showcause.freed_memory import FreedMemory
from showcause.manifest import model_folders
from showcause.paths import top_level

RESULTS = Path(__file__).parent / "results"
PARTS = ("bare", "served")


def main() -> None:
    if "GOMP_SPINCOUNT" not in os.environ:
        # As a worker has it: threads of torch's that spin after a backward pass would hold the cores for some 100 ms
        # of what comes next. It is read when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | threading_as_ours())
    FreedMemory()  # as a worker has it, too: what comes after a large batch would else pay for its pages
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; may be given again (all)")
    parser.add_argument("--rounds", type=int, default=9, help="of the bare part (%(default)s)")
    parser.add_argument("--served-rounds", type=int, default=5, help="of the served part (%(default)s)")
    parser.add_argument("--requests", type=int, default=96, help="a round to each service (%(default)s)")
    parser.add_argument("--callers", type=int, default=32, help="of each service: two full batches (%(default)s)")
    parser.add_argument("--model", default="animals-bcos", help="served, and asked from JPEG (%(default)s)")
    parser.add_argument("--model-store", type=Path, default=top_level("model_store"), help="folder of models")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the figures (%(default)s)")
    options = parser.parse_args()

    parts, store, rounds = options.part or PARTS, options.model_store, options.rounds
    rows: list[tuple[str, dict[str, float]]] = []
    times: Times = {}
    if "bare" in parts:
        for found, taken in (
            by_side(rounds),
            by_classes(rounds),
            by_photo(store / options.model, rounds),
            by_targets(store / options.model, rounds),
            by_methods(model_folders(store), rounds),
        ):
            rows += found
            times |= taken
    if "served" in parts:
        found, taken = served(store, options.model, options.served_rounds, options.requests, options.callers)
        rows += found
        times |= taken
    machine = f"{cpu_name()}, {usable_cores()} cores, torch {torch.__version__} with {torch.get_num_threads()} threads"

    table = Table(title=machine)
    for heading in ("ratio", "median", "middle half"):
        table.add_column(heading)
    for name, found in rows:
        table.add_row(name, f"{found['median']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}")
    console.print(table)
    rates = photos_a_second(times, options.requests)
    absolute = Table(title="median; of what is served, of one photo, the others waiting")
    absolute.add_column("what")
    absolute.add_column("ms", justify="right")
    absolute.add_column("photos/s", justify="right")
    for name, values in times.items():
        seconds = 1 / rates[name] if name in rates else statistics.median(values)
        absolute.add_row(name, f"{1000 * seconds:.1f}", f"{rates[name]:.1f}" if name in rates else "")
    console.print(absolute)

    record = {
        "machine": machine,
        "showcause": __version__,
        "model": options.model,
        "parts": list(parts),
        "rounds": rounds,
        "served_rounds": options.served_rounds,
        "requests": options.requests,
        "callers": options.callers,
        "ratios": dict(rows),
        "median_seconds": {name: statistics.median(values) for name, values in times.items() if name not in rates},
        "photos_a_second": dict(rates),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{date.today().isoformat()}-{__version__}-scale.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    console.print(f"written to {path}")


if __name__ == "__main__":
    main()
