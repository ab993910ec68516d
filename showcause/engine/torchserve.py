"""One TorchServe as a supervised child process.

engine = TorchServe(manifests, workers=None, gpus=None)
engine.start()
engine.wait_until_ready()        each worker of each model has loaded
... engine.target, engine.token  for the gateway's client; engine.died() while serving
engine.stop()                    work in flight is finished; nothing is left behind
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from showcause.engine.config import free_ports, write_config
from showcause.engine.java import find_java
from showcause.engine.pack import pack
from showcause.manifest import Manifest

START_SECONDS = 180
STOP_SECONDS = 30
FAILURES_BEFORE_GIVING_UP = 2  # starts of one model's worker


class EngineFailed(Exception):
    """The engine could not start, or is gone; the message says why, with the end of its log."""


class TorchServe:
    """See the module's docstring. workers: processes a model, None for what its model.toml says."""

    def __init__(self, manifests: Sequence[Manifest], workers: int | None = None, gpus: int | None = None):
        self.manifests, self.workers, self.gpus = list(manifests), workers, gpus
        self.ports = free_ports()
        self._home = tempfile.TemporaryDirectory(prefix="showcause-")
        self.home = Path(self._home.name)
        self.log_path = self.home / "torchserve.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """Address of its gRPC inference API."""
        return f"127.0.0.1:{self.ports.grpc_inference}"

    @property
    def token(self) -> str:
        """Bearer token for inference."""
        return self._key("inference")

    @property
    def pid(self) -> int:
        """Process id of the JVM."""
        if self._process is None:
            raise EngineFailed("the engine has not been started")
        return self._process.pid

    def start(self) -> None:
        """Packs the models and starts the JVM. Call it before grpc is initialised: it forks."""
        java, version = find_java()
        store = self.home / "store"
        archives = [pack(manifest, store, self.workers).name for manifest in self.manifests]
        config = write_config(self.home, store, archives, self.ports, self.gpus)
        quiet = ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"] if version >= 24 else []
        site = _site_packages()
        command = [str(java), *quiet, f"-Dmodel_server_home={site}", f"-Djava.io.tmpdir={self.home}"]
        command += [f"-Dlog4j.configurationFile=file://{self.home}/log4j2.xml", "-cp", f"{site}/ts/frontend/*"]
        command += ["org.pytorch.serve.ModelServer", "--python", sys.executable, "-f", str(config)]
        command += ["-s", str(store), "-ncs"]
        total = sum(self.workers or manifest.serving.workers for manifest in self.manifests)
        environment = os.environ | {
            "TMPDIR": str(self.home),
            "LOG_LOCATION": str(self.home),
            "METRICS_LOCATION": str(self.home),
            # Workers share the cores; more threads than cores only get in each other's way.
            "SHOWCAUSE_WORKER_THREADS": str(max(1, (os.cpu_count() or 1) // total)),
            "PYTHONUNBUFFERED": "1",
        }
        with open(self.log_path, "wb") as log:
            # A session of its own, so that Ctrl-C reaches the gateway alone, which then drains.
            self._process = subprocess.Popen(
                command,
                cwd=self.home,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - called before any thread is started
            )

    def wait_until_ready(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Returns when every worker of every model has loaded; raises EngineFailed with the reason otherwise."""
        deadline = time.monotonic() + START_SECONDS
        waiting = {manifest.name for manifest in self.manifests}
        while waiting:
            if reason := self.died():
                raise EngineFailed(reason)
            for name in sorted(waiting):
                if self._workers_ready(name):
                    waiting.remove(name)
                    say(f"model {name} is loaded")
                elif self._failed_starts(name) >= FAILURES_BEFORE_GIVING_UP:
                    raise EngineFailed(f"model {name} cannot be loaded:\n{self.log_tail()}")
            if waiting and time.monotonic() > deadline:
                raise EngineFailed(f"{sorted(waiting)} not ready after {START_SECONDS} s:\n{self.log_tail()}")
            time.sleep(0.1)

    def died(self) -> str:
        """Why the JVM is gone; "" while it runs."""
        if self._process is None or self._process.poll() is None:
            return ""
        return f"TorchServe ended with code {self._process.returncode}:\n{self.log_tail()}"

    def stop(self) -> None:
        """Lets work in flight finish, ends the JVM and whatever is left of its process group, removes its folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            try:
                os.killpg(self._process.pid, signal.SIGKILL)  # workers outlive a JVM that was killed
            except ProcessLookupError:
                pass
        self._home.cleanup()

    def log_tail(self, lines: int = 30) -> str:
        """The end of TorchServe's and its workers' log."""
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def metrics(self) -> str:
        """TorchServe's own series, in Prometheus' text format."""
        return self._get(self.ports.metrics, "/metrics", "inference").decode()

    def _workers_ready(self, name: str) -> bool:
        try:
            (model,) = json.loads(self._get(self.ports.management, f"/models/{name}", "management"))
        except (urllib.error.URLError, OSError, ValueError, KeyError):
            return False  # still starting
        states = [worker["status"] for worker in model["workers"]]
        return len(states) >= model["minWorkers"] and set(states) == {"READY"}

    def _failed_starts(self, name: str) -> int:
        log = self.log_path.read_text(errors="replace")
        return log.count(f"Load model failed: {name}")

    def _get(self, port: int, path: str, key: str) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        request.add_header("Authorization", f"Bearer {self._key(key)}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            body: bytes = answer.read()
            return body

    def _key(self, name: str) -> str:
        key: str = json.loads((self.home / "key_file.json").read_text())[name]["key"]
        return key


def _site_packages() -> Path:
    spec = find_spec("ts")
    if spec is None or not spec.submodule_search_locations:
        raise EngineFailed("torchserve is not installed: pip install 'showcause[server]'")
    return Path(next(iter(spec.submodule_search_locations))).parent


def _end_with_parent() -> None:
    """On Linux, ends the JVM when the gateway is killed, so that no orphan holds memory or a GPU."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
