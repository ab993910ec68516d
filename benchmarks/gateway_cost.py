"""What the gateway adds to TorchServe: the same request to the same worker, with and without it, in turns.

150 KB in, 600 KB out: a photo, and a map of 388 x 388 float32. One caller; both ways are bare gRPC, and nobody reads
the answers.
"""

import argparse
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import skimage.data
from PIL import Image
from rich.progress import track
from turns import Times, console

from showcause.client.calls import explain_request
from showcause.engine.v1 import call_pb2, prediction_pb2
from showcause.gateway.engine_client import METHOD
from showcause.paths import top_level
from showcause.wire import unseal
from tests.serving import start

MODEL, MAP_SIDE, JPEG_BYTES = "animals-cnn", 388, 150_000
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
BARE = """
import asyncio, sys, grpc

async def main():
    async def hop(request, context):
        return bytes(int(sys.argv[1]))
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handlers = {"Hop": grpc.unary_unary_rpc_method_handler(hop)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()

asyncio.run(main())
"""
EXPLAIN = "/showcause.v1.ExplanationService/Explain"


def photo() -> bytes:
    """A JPEG of about 150 KB."""
    picture, best = Image.fromarray(skimage.data.astronaut()), b""
    for quality in range(50, 101):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        if abs(len(buffer.getvalue()) - JPEG_BYTES) < abs(len(best) - JPEG_BYTES):
            best = buffer.getvalue()
    return best


@contextmanager
def both_ways(request: bytes) -> Iterator[dict[str, Callable[[], bytes]]]:
    """The request through the gateway, and straight to its TorchServe; each answers the serialised reply."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        running = start(MODEL, "--model-store", str(top_level("model_store")), TMPDIR=folder)
        if not running.grpc:
            raise SystemExit(f"the service did not start:\n{running.output}")
        try:
            (home,) = Path(folder).glob("showcause-*")
            port = re.search(r"grpc_inference_port=(\d+)", (home / "config.properties").read_text())
            token = json.loads((home / "key_file.json").read_text())["inference"]["key"]
            metadata = (("protocol", "gRPC"), ("authorization", f"Bearer {token}"))
            with (
                grpc.insecure_channel(running.grpc, options=OPTIONS) as front,
                grpc.insecure_channel(f"127.0.0.1:{port[1] if port else ''}", options=OPTIONS) as back,
            ):
                explain, predict = front.unary_unary(EXPLAIN), back.unary_unary(METHOD)

                def direct() -> bytes:
                    call = call_pb2.Call(
                        operation="explain", request=request, deadline=time.time() + 60, ticket="nobody"
                    )
                    row = call_pb2.Batch(calls=[call]).SerializeToString()
                    sent = prediction_pb2.PredictionsRequest(model_name=MODEL, input={"batch": row})
                    return predict(sent.SerializeToString(), metadata=metadata)

                def read(answer: bytes) -> bytes:
                    prediction = prediction_pb2.PredictionResponse.FromString(answer).prediction
                    return unseal(call_pb2.Answers.FromString(prediction).envelopes[0])

                sizes = len(explain(request)), len(read(direct()))
                if abs(sizes[0] - sizes[1]) > 200:
                    raise SystemExit(f"the two answers differ: {sizes[0]} and {sizes[1]} bytes")
                console.print(f"{len(request):,} bytes in, {sizes[0]:,} bytes out")
                yield {"through the gateway": lambda: explain(request), "straight to TorchServe": direct}
        finally:
            running.stop()


def bare_hop(sent: int, answered: int, requests: int) -> float:
    """Median milliseconds of a call to a grpc.aio server, in a process of its own, that does nothing: what any gateway
    of that kind adds at least. sent, answered: bytes."""
    command = [sys.executable, "-c", BARE, str(answered)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
                ask, seconds = channel.unary_unary("/bare/Hop"), []
                for number in range(requests + requests // 4):
                    began = time.perf_counter()
                    ask(bytes(sent))
                    if number >= requests // 4:
                        seconds.append(time.perf_counter() - began)
        finally:
            server.kill()
    return 1000 * statistics.median(seconds)


def gateway_cost(requests: int) -> tuple[dict[str, float], Times]:
    """Milliseconds that it adds, as the median and middle half of the differences between neighbours."""
    request = explain_request(
        photo(), model=MODEL, methods="cam", map_size=(MAP_SIDE, MAP_SIDE), map_dtype="float32"
    ).SerializeToString()
    with both_ways(request) as ways:
        times: Times = {name: [] for name in ways}
        for number in track(range(requests + requests // 4), description="the gateway", console=console):
            for name, run in ways.items():
                began = time.perf_counter()
                run()
                if number >= requests // 4:  # before that the JVM compiles its code
                    times[name].append(time.perf_counter() - began)
    pairs = zip(times["through the gateway"], times["straight to TorchServe"], strict=True)
    low, median, high = statistics.quantiles([1000 * (one - other) for one, other in pairs], n=4)
    medians = {name: 1000 * statistics.median(values) for name, values in times.items()}
    p50 = medians["through the gateway"] - medians["straight to TorchServe"]
    hop = bare_hop(JPEG_BYTES, 4 * MAP_SIDE**2, requests)
    return {"p50_ms": p50, "median_ms": median, "low_ms": low, "high_ms": high, "bare hop": hop, **medians}, times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400, help="each way (%(default)s)")
    found, _ = gateway_cost(parser.parse_args().requests)
    for name, milliseconds in found.items():
        console.print(f"{name}: {milliseconds:.2f} ms")


if __name__ == "__main__":
    main()
