"""Stock TorchServe with captum at /explanations, as people serve explanations today, beside our service.

The same network and weights (``animals-cnn``), the same JPEG, a worker each with equally many threads, closed loops
with 1 and 8 callers. *stock default* is TorchServe's own image classifier, whose explanation is captum's Integrated
Gradients in 15 steps; *stock Grad-CAM* is a handler as a user of captum writes it (``stock/grad_cam_handler.py``).

What the peer is given: its own preprocessing (256 px, then the middle 224), which costs what ours does; no tokens, a
quiet log, and room for large replies; a connection for each caller that stays; a target that costs nothing to find
(its default explains class 0, whatever the photo shows); for Grad-CAM the same layer, grid and class as ours. Clients
of both read what they get into arrays, in threads of this process.

Where a ratio comes from is told by stages of a request alone (``stock_split``) and by what eight callers gain.

python benchmarks/stock_torchserve.py --rounds 3
"""

import argparse
import io
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table
from stock_services import DEFAULT, GRAD_CAM, PeerMissing, own_service, stock_service
from stock_split import MANY, STAGES, integrated_gradients, read_json, stages_apart, stock_network, stock_pipeline
from turns import Times, console, jpeg, ratio, take_turns

from showcause import Client
from showcause.client.calls import explain_request, predict_request
from showcause.model import Model, load
from showcause.paths import top_level
from showcause.v1.service_pb2_grpc import ExplanationServiceStub

Rows = list[tuple[str, dict[str, float]]]
CALLERS = (1, MANY)
WARM_UP = 100  # predictions before anything is measured, for both: a JVM compiles its code meanwhile
QUICK = 4  # times as many requests a round of all that is not Integrated Gradients, or a round would be noise
PEERS = {  # what stock TorchServe is asked for: path, and what its client does with the body
    "stock default": (f"/explanations/{DEFAULT}", read_json),
    "stock Grad-CAM": (f"/explanations/{GRAD_CAM}", read_json),
    "stock predict": (f"/predictions/{DEFAULT}", json.loads),
}
OWN: dict[str, tuple[str, dict[str, Any]]] = {  # what our service is asked for: operation and wishes
    "our grad_cam": ("explain", {"methods": "grad_cam"}),
    "our grad_cam + overlay": ("explain", {"methods": "grad_cam", "pictures": ["overlay"]}),
    "our predict": ("predict", {}),
}
COMPARED = (
    ("stock default", "our grad_cam"),
    ("stock default", "our grad_cam + overlay"),
    ("stock Grad-CAM", "our grad_cam"),
    ("stock Grad-CAM", "our grad_cam + overlay"),
    ("stock predict", "our predict"),
)


def stock_torchserve(rounds: int, requests: int) -> tuple[Rows, Times, dict[str, Any]]:
    """Ratios, seconds a request, and what else was found: bytes of replies, milliseconds by stage, agreement.

    requests: a round, of the slowest contestant. Says why, and returns nothing, where there can be no peer here.
    """
    model, photo = load(top_level("model_store") / "animals-cnn"), jpeg()
    try:
        with ExitStack() as stack:
            port, address = stack.enter_context(stock_service(model)), stack.enter_context(own_service(model))
            found = agreement(model, photo, port, address)
            reply_bytes = bytes_of_replies(photo, port, address)
            ways = stack.enter_context(callers_of(photo, port, address))
            names, run = stack.enter_context(stages_apart(model.manifest.folder, photo))
            times = measured(ways, names, run, rounds, requests)
    except PeerMissing as error:
        console.print(f"stock TorchServe is left out: {error}")
        return [], {}, {}
    milliseconds = stage_milliseconds(times)
    show(milliseconds, reply_bytes, found)
    extra = {"reply_bytes": reply_bytes, "stage_milliseconds": milliseconds, "agreement": found}
    return [*compared(times), *split(times)], times, extra


def connection_to(port: int) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", port, timeout=300)


def ask_stock(connection: HTTPConnection, path: str, photo: bytes) -> bytes:
    """The body of one answer; raises RuntimeError for an error."""
    connection.request("POST", path, photo, {"Content-Type": "application/octet-stream"})
    with connection.getresponse() as answer:
        body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"stock TorchServe answers {path} with {answer.status}: {body[:300]!r}")
    return body


@contextmanager
def callers_of(photo: bytes, port: int, address: str) -> Iterator[dict[str, Callable[[int], object]]]:
    """What a caller of each contestant does once, by the caller's number below MANY; each keeps its connection."""
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(connection_to(port))) for _ in range(MANY)]
        clients = [stack.enter_context(Client(address)) for _ in range(MANY)]
        ways: dict[str, Callable[[int], object]] = {}
        for name, (path, read) in PEERS.items():
            ways[name] = lambda caller, path=path, read=read: read(ask_stock(connections[caller], path, photo))
        for name, (operation, wishes) in OWN.items():
            ways[name] = lambda caller, o=operation, w=wishes: getattr(clients[caller], o)(photo, **w)
        yield ways


def together(way: Callable[[int], object], callers: int, count: int) -> None:
    """So many callers, each with its share of the requests, one after the other."""

    def run(caller: int) -> None:
        for _ in range(count // callers):
            way(caller)

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(run, range(callers)))


def measured(
    ways: dict[str, Callable[[int], object]],
    stages: Sequence[str],
    run_stage: Callable[[str], float],
    rounds: int,
    requests: int,
) -> Times:
    """Seconds a request with each number of callers, and of each stage; all take turns in the same rounds."""
    for name in ("stock predict", "our predict"):
        together(ways[name], 1, WARM_UP)
    contestants: dict[str, Callable[[], object]] = {}
    counts: dict[str, int] = {}
    for name, way in ways.items():
        for callers in CALLERS:
            count = requests * (1 if name == "stock default" else QUICK)
            counts[named(name, callers)] = count
            contestants[named(name, callers)] = partial(together, way, callers, count)
    alone: Times = {name: [] for name in stages}
    for name in stages:
        contestants[name] = lambda name=name: alone[name].append(run_stage(name))
    totals = take_turns(contestants, rounds, "stock TorchServe and our service")
    times = {name: [value / count for value in totals[name]] for name, count in counts.items()}
    return times | {name: values[1:] for name, values in alone.items()}  # the first round is not measured


def named(contestant: str, callers: int) -> str:
    return f"{contestant}, {callers} caller{'s' * (callers > 1)}"


def agreement(model: Model, photo: bytes, port: int, address: str) -> dict[str, Any]:
    """Whether both are right: their strongest classes, and how their maps correlate.

    Stock TorchServe cuts the photo's middle out and ours does not: maps are compared where ours is told to look there.
    """
    image = Image.open(io.BytesIO(photo))
    region = seen_by_stock(*image.size)
    with closing(connection_to(port)) as connection, Client(address) as client:
        labels = json.loads(ask_stock(connection, f"/predictions/{DEFAULT}", photo))
        gradients = read_json(ask_stock(connection, f"/explanations/{DEFAULT}", photo))
        theirs = read_json(ask_stock(connection, f"/explanations/{GRAD_CAM}", photo))
        whole = client.predict(photo).predictions[0]
        cut = client.explain(photo, methods="grad_cam", region=region)
    direct = integrated_gradients(stock_network(model), stock_pipeline()(image)[None])[0].numpy()
    ours = cut.explanation.map
    if gradients.shape != direct.shape or ours is None or theirs.shape != ours.shape:
        raise RuntimeError(f"stock TorchServe's maps are {gradients.shape} and {theirs.shape}: not what was asked for")
    return {
        "stock class": max(labels, key=labels.get),
        "our class": whole.label,
        "our class, of what stock sees": cut.predictions[0].label,
        "stock probability": max(labels.values()),
        "our probability, of what stock sees": cut.predictions[0].probability,
        "correlation of Grad-CAM maps": float(np.corrcoef(theirs.ravel(), ours.ravel())[0, 1]),
        "correlation of Integrated Gradients with captum's own": float(
            np.corrcoef(gradients.ravel(), direct.ravel())[0, 1]
        ),
    }


def seen_by_stock(width: int, height: int) -> tuple[float, float, float, float]:
    """The middle 224 x 224 of the photo at 256 px, in its own pixels: x_min, y_min, x_max, y_max."""
    half = 224 / 256 * min(width, height) / 2
    return width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half


def bytes_of_replies(photo: bytes, port: int, address: str) -> dict[str, int]:
    """Of each contestant's body, or message."""
    with closing(connection_to(port)) as connection:
        found = {name: len(ask_stock(connection, path, photo)) for name, (path, _) in PEERS.items()}
    requests = {"explain": explain_request, "predict": predict_request}
    with Client(address) as client:
        stub: ExplanationServiceStub = client._stub
        calls = {"explain": stub.Explain, "predict": stub.Predict}
        for name, (operation, wishes) in OWN.items():
            found[name] = calls[operation](requests[operation](photo, **wishes)).ByteSize()
    return found


def compared(times: Times) -> Rows:
    """Stock against ours, with as many callers."""
    return [
        (f"{named(one, callers)} / {other}", ratio(times, named(one, callers), named(other, callers)))
        for one, other in COMPARED
        for callers in CALLERS
    ]


def split(times: Times) -> Rows:
    """What the ratios are made of: computing, replies, and what many callers gain."""
    rows: Rows = []
    for stock in ("stock default", "stock Grad-CAM"):
        for stage in ("computed", "written", "read"):
            rows.append(
                (f"{stock} / our grad_cam: {stage}", ratio(times, f"{stock}: {stage}", f"our grad_cam: {stage}"))
            )
    batch = ratio(times, "our grad_cam: computed", f"our grad_cam: computed, batch {MANY}", each=MANY)
    rows.append((f"our grad_cam: computed, {MANY} x batch 1 / batch {MANY}", batch))
    for name in (*PEERS, *OWN):
        one, many = (named(name, callers) for callers in CALLERS)
        rows.append((f"{name}: 1 caller / {MANY} callers, a request", ratio(times, one, many)))
    return rows


def stage_milliseconds(times: Times) -> dict[str, dict[str, float]]:
    """Median milliseconds of a lone caller's request by stage; the way there and back is what is left in a round."""
    found: dict[str, dict[str, float]] = {}
    for name in ("stock default", "stock Grad-CAM", "our grad_cam"):
        parts, whole = [times[f"{name}: {stage}"] for stage in STAGES], times[named(name, 1)]
        left = [total - sum(each) for total, *each in zip(whole, *parts, strict=True)]
        values = zip((*STAGES, "the way", "in all"), (*parts, left, whole), strict=True)
        found[name] = {stage: 1000 * median(seconds) for stage, seconds in values}
    return found


def show(milliseconds: dict[str, dict[str, float]], reply_bytes: dict[str, int], found: dict[str, Any]) -> None:
    """What is no ratio."""
    table = Table(title="a lone caller's request, ms by stage")
    table.add_column("stage")
    for name in milliseconds:
        table.add_column(name, justify="right")
    for stage in (*STAGES, "the way", "in all"):
        table.add_row(stage, *(f"{each[stage]:.2f}" for each in milliseconds.values()))
    console.print(table)
    console.print("bytes of a reply: " + ", ".join(f"{name} {size:,}" for name, size in reply_bytes.items()))
    for name, value in found.items():
        console.print(f"{name}: {value if isinstance(value, str) else f'{value:.4f}'}")
    if len({found[name] for name in ("stock class", "our class", "our class, of what stock sees")}) > 1:
        console.print("the strongest classes differ: the two look at different parts of the photo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="how often each contestant runs (%(default)s)")
    parser.add_argument("--requests", type=int, default=16, help="requests a round, of the slowest (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write what was found into")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that services are ended on the way out

    rows, times, extra = stock_torchserve(options.rounds, options.requests)
    if not rows:
        sys.exit(1)
    table = Table(title="stock TorchServe and ours")
    for heading in ("ratio", "median", "middle half"):
        table.add_column(heading)
    for name, found in rows:
        table.add_row(name, f"{found['median']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}")
    console.print(table)
    for name, values in times.items():
        console.print(f"{name}: {1000 * median(values):.2f} ms")
    if options.json:
        record = {"ratios": dict(rows), "median_seconds": {name: median(each) for name, each in times.items()}}
        options.json.write_text(json.dumps(record | {"stock_torchserve": extra}, indent=2) + "\n")


if __name__ == "__main__":
    main()
