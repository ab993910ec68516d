"""The two services that ``stock_torchserve`` compares, each on free ports of 127.0.0.1, with the same model.

Stock TorchServe has an environment of its own, with what its users install. It is started as ours starts its own:
through java, with as many threads for its worker, as quiet a log, and nothing left behind.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

import torch
from networks import PEERS
from turns import console

import showcause.engine
from showcause.engine.config import LOGGING, MAX_MESSAGE_BYTES, free_ports
from showcause.engine.cores import threads_of_each
from showcause.engine.java import JavaMissing, find_java
from showcause.engine.torchserve import THREADS_VARIABLE
from showcause.model import Model

STOCK = Path(__file__).parent / "stock"
ENVIRONMENT = PEERS / "stock"
REQUIREMENTS = (
    "torch==2.13.0", "torchserve==0.12.0", "torch-model-archiver==0.12.0", "captum==0.9.0",
    "numpy", "packaging", "pillow", "pyyaml", "setuptools",
)  # fmt: skip
DEFAULT, GRAD_CAM = "animals", "animals-grad-cam"  # models in stock TorchServe
HANDLERS = {DEFAULT: "image_classifier", GRAD_CAM: str(STOCK / "grad_cam_handler.py")}
T = TypeVar("T")
START_SECONDS, STOP_SECONDS = 120, 60


class PeerMissing(Exception):
    """The peer cannot be made or started here; the message says why."""


def stock_python() -> Path:
    """The interpreter of the peer's environment, which is made when it is missing or of other versions."""
    python, mark = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS)
    if mark.exists() and mark.read_text() == wanted:
        return python
    console.print(f"installing stock TorchServe and captum into {os.path.relpath(ENVIRONMENT)}: a minute or two")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    try:
        venv.create(ENVIRONMENT, symlinks=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:  # some systems' Python comes without ensurepip
        raise PeerMissing(f"{ENVIRONMENT} cannot be made: {error}") from error
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerMissing(f"pip cannot install {', '.join(REQUIREMENTS)}: {_tail(done.stderr)}")
    mark.write_text(wanted)
    return python


def threading_as_ours() -> dict[str, str]:
    """Variables that give a process the threads of our own worker, and let them spin as briefly."""
    threads = os.environ.get(THREADS_VARIABLE) or str(threads_of_each(1))
    return {"OMP_NUM_THREADS": threads, "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000")}


@contextmanager
def stock_service(model: Model) -> Iterator[int]:
    """Stock TorchServe with both handlers, and the port of its REST API. Raises PeerMissing.

    A model has one worker and takes one photo at a time, which is the default; batches would not do, because
    ``explain_handle`` explains the first photo's target for all. The worker's threads and how long they spin are those
    of our own workers.
    """
    python = stock_python()
    try:
        java, version = find_java()
    except JavaMissing as error:
        raise PeerMissing(str(error)) from error
    newer = ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"] if version >= 24 else []
    site = next((ENVIRONMENT / "lib").glob("python*/site-packages"))
    with tempfile.TemporaryDirectory(prefix="stock-torchserve-") as folder:
        home, ports = Path(folder), free_ports()
        _pack(model, python, home)
        settings = {
            "inference_address": f"http://127.0.0.1:{ports.inference}",
            "management_address": f"http://127.0.0.1:{ports.management}",
            "metrics_address": f"http://127.0.0.1:{ports.metrics}",
            "grpc_inference_address": "127.0.0.1",
            "grpc_management_address": "127.0.0.1",
            "grpc_inference_port": ports.grpc_inference,
            "grpc_management_port": ports.grpc_management,
            "model_store": home,
            "load_models": ",".join(f"{name}.mar" for name in HANDLERS),
            "default_workers_per_model": 1,
            "disable_token_authorization": "true",
            "max_response_size": MAX_MESSAGE_BYTES,  # the default, 6.5 MB, is less than two of its maps
            "disable_system_metrics": "true",
            "metrics_mode": "prometheus",
        }
        config = home / "config.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        (home / "log4j2.xml").write_text(LOGGING)
        # The heap as ours has it: a little less work for the JVM than with its defaults.
        heap = ["-XX:-UsePerfData", "-XX:+UseSerialGC", "-Xms64m"]
        command = [str(java), *heap, *newer, f"-Dmodel_server_home={site}", f"-Djava.io.tmpdir={home}"]
        command += [f"-Dlog4j.configurationFile=file://{home}/log4j2.xml", "-cp", f"{site}/ts/frontend/*"]
        command += ["org.pytorch.serve.ModelServer", "--python", str(python), "-f", str(config), "-s", str(home)]
        environment = {
            "TMPDIR": str(home),
            "LOG_LOCATION": str(home),
            "METRICS_LOCATION": str(home),
            "PYTHONPATH": str(STOCK),  # for the stand-in of torchvision
        } | threading_as_ours()
        with _running([*command, "-ncs"], home, environment) as (process, log):
            management = f"http://127.0.0.1:{ports.management}/models"
            if not _wait(process, lambda: all(_loaded(f"{management}/{name}") for name in HANDLERS)):
                raise PeerMissing(f"stock TorchServe has not loaded its models:\n{_tail(_text(log))}")
            yield ports.inference


@contextmanager
def own_service(model: Model) -> Iterator[str]:
    """``showcause serve`` with that model alone, and the address of its gRPC. On the CPU, as the peer's torch is."""
    ports = [word for name in ("grpc", "rest", "metrics", "admin") for word in (f"--{name}-port", "0")]
    command = [sys.executable, "-m", "showcause.cli", "serve", model.manifest.name, *ports]
    command += ["--model-store", str(model.manifest.folder.parent), "--gpus", "0"]
    with _running(command, Path.cwd(), {}) as (process, log):
        found = _wait(process, lambda: re.search(r"serving gRPC on (\S+),", _text(log)))
        if not found:
            raise RuntimeError(f"our service did not start:\n{_tail(_text(log))}")
        yield found.group(1)


def _pack(model: Model, python: Path, out: Path) -> None:
    """Writes the archives: the eager model file, its state dict, and the labels."""
    weights, labels = out / "weights.pt", out / "index_to_name.json"
    torch.save({key: value.contiguous() for key, value in model.net.state_dict().items()}, weights)
    labels.write_text(json.dumps(dict(enumerate(model.manifest.labels))))
    for name, handler in HANDLERS.items():
        command = [str(python.parent / "torch-model-archiver"), "--model-name", name, "--version", "1.0"]
        command += ["--model-file", str(STOCK / "model.py"), "--serialized-file", str(weights), "--handler", handler]
        command += ["--extra-files", str(labels), "--export-path", str(out)]
        environment = os.environ | {"TMPDIR": str(out)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerMissing(f"torch-model-archiver cannot pack {name}: {_tail(done.stderr)}")


@contextmanager
def _running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A process and its log. It ends, with all below it, where this block ends, and when this process is killed."""
    child = [sys.executable, "-I", "-S", str(Path(showcause.engine.__path__[0]) / "child.py"), str(os.getpid())]
    with tempfile.TemporaryFile() as log:  # not a pipe, which somebody would have to empty
        process = subprocess.Popen(
            [*child, *command],
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process, which then ends it
        )
        try:
            yield process, log
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers outlive a JVM that did not end in time
            process.wait()


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], T | None]) -> T | None:
    """What ``ready`` returns once that is something; None if the process ends, or that takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := ready():
            return found
        time.sleep(0.1)
    return None


def _loaded(url: str) -> bool:
    """Whether each worker of a model is ready; /ping says Healthy even where none can load."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # proxies are for other hosts
    try:
        with opener.open(url, timeout=5) as answer:
            (model,) = json.load(answer)
    except (OSError, ValueError):
        return False
    return bool(model["workers"]) and all(worker["status"] == "READY" for worker in model["workers"])


def _text(log: IO[bytes]) -> str:
    return os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace")  # leaves the place where the process writes


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
