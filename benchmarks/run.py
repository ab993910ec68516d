"""`make bench`: this project beside what people would use instead, as ratios within one run.

Contestants take turns, so that a noisy machine disturbs all of them alike; a ratio is the median over rounds of the
ratio within a round, with the middle half of the rounds beside it. Absolute times belong to the machine that is named.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import networks
import torch
from bench_picture import PICTURE, draw
from filter_parts_cost import filter_parts_cost
from gateway_cost import gateway_cost
from machine import cpu_name
from maps_cost import maps_cost
from onnx_cost import onnx_cost
from rich.table import Table
from stock_torchserve import stock_torchserve
from torch.utils.flop_counter import FlopCounterMode
from turns import Times, console, jpeg, ratio, take_turns

from showcause import Client, __version__
from showcause.client.calls import explain_request, predict_request
from showcause.layers.bcos import add_inverse
from showcause.methods import Ask, linear_map
from showcause.model import load
from showcause.nets.base import Tape
from showcause.paths import top_level
from showcause.reply import ClassTarget
from showcause.v1 import method_pb2
from showcause.worker import Call, explain

RESULTS = Path(__file__).parent / "results"
SIDE, BATCH = 224, 8
PRODUCT = 1536  # side of the matrices whose product tells what the machine can do
GATEWAY_REQUESTS = 400
SHIPPED = "animals-bcos"
WITH_PARTS, WITH_MAPS = (top_level("model_store") / name for name in ("animals-parts", "animals-cnn"))


def bare_networks(rounds: int) -> tuple[list[tuple[str, dict[str, float]]], Times]:
    """ResNet-18, from tensors: what the B-cos factor costs, what W costs, and the authors' way."""
    torch.manual_seed(1)
    batch = torch.rand(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    plain, ours, unprepared = networks.ordinary(), networks.bcos(batch), networks.bcos(batch)
    ours.prepare()
    theirs = networks.official(ours)
    settled = linear_map.settle(method_pb2.Method(), "")

    @torch.inference_mode()
    def run_plain(x: torch.Tensor) -> None:
        plain(x)

    def run_explain(x: torch.Tensor, targets: int = 1) -> None:
        forward = ours.run(x, Tape(start="input", hold=True))
        strongest = forward.evidence.topk(targets, 1).indices.tolist()
        for rank in range(targets):
            forward.pull(range(len(x)), [{classes[rank]: 1.0} for classes in strongest])

    def run_autograd(x: torch.Tensor) -> None:
        forward = unprepared.run(x, Tape(start="input", hold=True))
        linear_map.linear_map(forward, forward.evidence.amax(1), range(len(x)))

    def run_colors(x: torch.Tensor) -> None:
        forward = ours.run(x, Tape(start="input", hold=True))
        targets = (ClassTarget(index, "") for index in forward.logits.argmax(1).tolist())
        for found in linear_map.explain(forward, [Ask(row, target, settled) for row, target in enumerate(targets)]):
            found.color()

    def run_official(x: torch.Tensor) -> None:
        for one in x.split(1):
            theirs.explain(add_inverse(one).requires_grad_())

    square = torch.rand(PRODUCT, PRODUCT)
    contestants: dict[str, Callable[[], object]] = {"matrix product": lambda: square @ square}
    for size in (1, BATCH):
        x = batch[:size]
        contestants |= {
            f"ordinary predict, {size}": lambda x=x: run_plain(x),
            f"B-cos predict, {size}": lambda x=x: ours.run(x),
            f"B-cos predict + W, {size}": lambda x=x: run_explain(x),
            f"B-cos predict + 3 W, {size}": lambda x=x: run_explain(x, 3),
            f"the same layer by layer, W by autograd, {size}": lambda x=x: run_autograd(x),
            f"B-cos predict + W + color picture, {size}": lambda x=x: run_colors(x),
            f"the authors' explain, one by one, {size}": lambda x=x: run_official(x),
        }
    times = take_turns(contestants, rounds, "bare networks")
    rows = []
    for size in (1, BATCH):
        where = f"batch {size}"
        with FlopCounterMode(display=False) as counter:
            unprepared.run(batch[:size])
        # Beside the matrix product, which is what this machine can do: W takes as much again as a prediction.
        work = counter.get_total_flops() / (2 * PRODUCT**3)
        rows += [
            (f"share of the peak: B-cos predict, {where}",
             ratio(times, "matrix product", f"B-cos predict, {size}", each=work)),
            (f"share of the peak: B-cos predict + W, {where}",
             ratio(times, "matrix product", f"B-cos predict + W, {size}", each=2 * work)),
            (f"B-cos predict / ordinary predict, {where}",
             ratio(times, f"B-cos predict, {size}", f"ordinary predict, {size}")),
            (f"B-cos explain / B-cos predict, {where}",
             ratio(times, f"B-cos predict + W, {size}", f"B-cos predict, {size}")),
            (f"B-cos explain / ordinary predict, {where}",
             ratio(times, f"B-cos predict + W, {size}", f"ordinary predict, {size}")),
            (f"B-cos explain, three targets / B-cos predict, {where}",
             ratio(times, f"B-cos predict + 3 W, {size}", f"B-cos predict, {size}")),
            (f"W by autograd / W by the program, {where}",
             ratio(times, f"the same layer by layer, W by autograd, {size}", f"B-cos predict + W, {size}")),
            (f"the authors' explain loop / ours with the same outputs, {where}",
             ratio(times, f"the authors' explain, one by one, {size}", f"B-cos predict + W + color picture, {size}")),
        ]  # fmt: skip
    one_by_one = ratio(times, "B-cos predict + W, 1", f"B-cos predict + W, {BATCH}", each=BATCH)
    rows.append((f"{BATCH} x explain at batch 1 / explain at batch {BATCH}", one_by_one))
    return rows, times


def served(rounds: int, requests: int) -> tuple[list[tuple[str, dict[str, float]]], Times, dict[str, float]]:
    """The shipped model from JPEG bytes: ``worker.explain`` in this process, and the service with 1 and 8 callers."""
    photo = jpeg()
    wishes = {
        "explain": {"model": SHIPPED, "pictures": ["overlay"], "map_dtype": "float16"},
        "predict": {"model": SHIPPED},
    }
    messages = {
        "explain": explain_request(photo, **wishes["explain"]).SerializeToString(),
        "predict": predict_request(photo, **wishes["predict"]).SerializeToString(),
    }
    model = load(top_level("model_store") / SHIPPED)
    process, address = start_service()
    try:
        clients = [Client(address) for _ in range(BATCH)]

        def ask(operation: str, callers: int) -> None:
            def run(client: Client) -> None:
                for _ in range(requests // callers):
                    getattr(client, operation)(photo, **wishes[operation])

            with ThreadPoolExecutor(callers) as pool:
                list(pool.map(run, clients[:callers]))

        def bare(operation: str, batch: int) -> None:
            for _ in range(requests // batch):
                explain(model, [Call(operation, messages[operation])] * batch)

        contestants: dict[str, Callable[[], object]] = {}
        for operation in ("predict", "explain"):
            for many in (1, BATCH):
                contestants[f"bare {operation}, batch {many}"] = lambda o=operation, n=many: bare(o, n)
                contestants[f"served {operation}, {many} callers"] = lambda o=operation, n=many: ask(o, n)
        times = take_turns(contestants, rounds, "the service")
        memory = memory_of(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    rows = [
        (f"throughput served / bare: {operation}, {many} callers, batch up to {many}",
         ratio(times, f"bare {operation}, batch {many}", f"served {operation}, {many} callers"))
        for operation in ("predict", "explain")
        for many in (1, BATCH)
    ]  # fmt: skip
    rows.append(
        (f"served explain / served predict, {BATCH} callers",
         ratio(times, f"served explain, {BATCH} callers", f"served predict, {BATCH} callers"))
    )  # fmt: skip
    per_request = {name: [value / requests for value in values] for name, values in times.items()}
    return rows, per_request, memory


def start_service() -> tuple[subprocess.Popen[str], str]:
    """``showcause serve`` on free ports, and its gRPC address."""
    ports = ("--grpc-port", "0", "--rest-port", "0", "--metrics-port", "0")
    command = [sys.executable, "-m", "showcause.cli", "serve", *ports]
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115, not a pipe, which somebody would have to empty
    process = subprocess.Popen(command, stderr=log, text=True)
    while process.poll() is None:
        log.seek(0)
        if match := re.search(r"serving gRPC on (\S+),", log.read()):
            return process, match.group(1)
        time.sleep(0.1)
    log.seek(0)
    raise SystemExit(f"the service did not start: {log.read()}")


def memory_of(pid: int) -> dict[str, float]:
    """Resident MB of the gateway and of every process below it."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid=,rss=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 3) for line in listing.splitlines()]
    found, pending = {}, [(pid, "gateway")]
    while pending:
        parent, name = pending.pop()
        for own, above, rss, command in rows:
            if int(own) == parent:
                found[name] = int(rss) / 1024
            if int(above) == parent:
                pending.append((int(own), "JVM" if "ModelServer" in command else f"worker {own}"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="how often each contestant runs (%(default)s)")
    parser.add_argument("--requests", type=int, default=16, help="requests a round to the service (%(default)s)")
    options = parser.parse_args()

    network_rows, network_times = bare_networks(options.rounds)
    if WITH_PARTS.exists():
        rows, times = filter_parts_cost(WITH_PARTS, BATCH, options.rounds)
        network_rows += rows
        network_times |= times
    rows, times = maps_cost(WITH_MAPS, BATCH, options.rounds)
    network_rows += rows
    network_times |= times
    service_rows, service_times, memory = served(options.rounds, options.requests)
    rows, times, onnx_memory = onnx_cost(options.rounds)
    network_rows += rows
    network_times |= times
    gateway, _ = gateway_cost(GATEWAY_REQUESTS)
    rows, times, stock = stock_torchserve(options.rounds, options.requests)
    service_rows += rows
    service_times |= times
    machine = f"{cpu_name()}, {os.cpu_count()} cores, torch {torch.__version__} with {torch.get_num_threads()} threads"

    table = Table(title=machine)
    for heading in ("ratio", "median", "middle half"):
        table.add_column(heading)
    for name, found in [*network_rows, *service_rows]:
        table.add_row(name, f"{found['median']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}")
    console.print(table)
    absolute = Table(title="median milliseconds")
    absolute.add_column("what")
    absolute.add_column("ms", justify="right")
    for name, values in {**network_times, **service_times}.items():
        absolute.add_row(name, f"{1000 * statistics.median(values):.1f}")
    console.print(absolute)
    console.print("the gateway adds, 150 KB in, 600 KB out: " + ", ".join(f"{k} {v:.2f}" for k, v in gateway.items()))
    console.print("ONNX Runtime, resident MB: " + ", ".join(f"{name} {size:.0f}" for name, size in onnx_memory.items()))
    console.print("resident memory: " + ", ".join(f"{name} {size:.0f} MB" for name, size in memory.items()))

    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{date.today().isoformat()}-{__version__}.json"
    medians = {name: statistics.median(values) for name, values in {**network_times, **service_times}.items()}
    record = {
        "machine": machine,
        "showcause": __version__,
        "rounds": options.rounds,
        "ratios": dict([*network_rows, *service_rows]),
        "median_seconds": medians,
        "resident_mb": memory,
        "onnx_resident_mb": onnx_memory,
        "gateway_ms": gateway,
        "stock_torchserve": stock,
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
    draw(record["ratios"])
    console.print(f"written to {path} and {PICTURE}")


if __name__ == "__main__":
    main()
