"""ONNX Runtime beside torch: speed and memory of the shipped models, through the worker's whole path.

It runs in a process of its own with a worker's threads: torch's would else spin on cores that ONNX Runtime's want.
"""

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.table import Table
from stock_services import threading_as_ours
from turns import Times, console, jpeg, ratio, take_turns

from showcause.client.calls import explain_request, predict_request
from showcause.engine.exported import exported
from showcause.manifest import read_manifest
from showcause.model import load
from showcause.paths import top_level
from showcause.worker import Call, explain

Rows = list[tuple[str, dict[str, float]]]
EXPLAINED = {"animals-bcos": "linear_map", "animals-cnn": "grad_cam", "animals-parts": "filter_parts"}
RUNTIMES = ("torch", "onnxruntime")
BATCH = 8


def onnx_cost(rounds: int) -> tuple[Rows, Times, dict[str, float]]:
    """Ratios, times and resident MB after batches of 8 explanations, each model and runtime in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name in EXPLAINED:
            for runtime in RUNTIMES:
                copied = Path(folder) / runtime / name
                shutil.copytree(top_level("model_store") / name, copied)
                if runtime == "onnxruntime":
                    exported(read_manifest(copied), copied, console.print)
        rows, times = _apart(folder, "--rounds", str(rounds))
        memory = {
            f"{name}, {runtime}": _apart(folder, "--memory", f"{runtime}/{name}")
            for name in EXPLAINED
            for runtime in RUNTIMES
        }
    return [(name, found) for name, found in rows], times, memory


def _apart(folder: str, *arguments: str) -> list:
    """What this file answers with these arguments in a worker's environment."""
    command = [sys.executable, __file__, "--folder", folder, *arguments]
    done = subprocess.run(command, env=os.environ | threading_as_ours(), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def calls_of(name: str, photo: bytes) -> dict[str, Call]:
    wanted = explain_request(photo, methods=EXPLAINED[name], map_dtype="float16")
    return {
        "predict": Call("predict", predict_request(photo).SerializeToString()),
        EXPLAINED[name]: Call("explain", wanted.SerializeToString()),
    }


def compared(folder: Path, rounds: int) -> tuple[Rows, Times]:
    contestants: dict[str, Callable[[], object]] = {}
    wanted = []
    for name in EXPLAINED:
        models = {runtime: load(folder / runtime / name) for runtime in RUNTIMES}
        for what, call in calls_of(name, jpeg()).items():
            for size in (1, BATCH):
                names = {runtime: f"{name}: {what}, {runtime}, batch {size}" for runtime in RUNTIMES}
                for runtime, model in models.items():
                    contestants[names[runtime]] = lambda m=model, c=call, n=size: explain(m, [c] * n)
                row = f"{name}: {what}, torch / ONNX Runtime, batch {size}"
                wanted.append((row, names["torch"], names["onnxruntime"]))
    times = take_turns(contestants, rounds, "ONNX Runtime")
    return [(row, ratio(times, one, other)) for row, one, other in wanted], times


def memory_of(folder: Path) -> float:
    """Resident MB at most, of a process that has served some batches."""
    model, photo = load(folder), jpeg()
    for _ in range(3):
        for call in calls_of(model.manifest.name, photo).values():
            explain(model, [call] * BATCH)
    # Not getrusage, whose figure is that of the process that started this one where that was larger.
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often each contestant runs (%(default)s)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        console.stderr = True  # the answer alone goes to the standard output
        folder = options.folder
        print(json.dumps(memory_of(folder / options.memory) if options.memory else compared(folder, options.rounds)))
        return
    rows, _, memory = onnx_cost(options.rounds)
    table = Table("ratio", "median", "middle half")
    for name, found in rows:
        table.add_row(name, f"{found['median']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}")
    console.print(table)
    console.print("resident MB: " + ", ".join(f"{name} {size:.0f}" for name, size in memory.items()))


if __name__ == "__main__":
    main()
