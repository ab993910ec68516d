"""One TorchServe as a supervised child process.

engine = TorchServe(manifests)
engine.start()
engine.wait_until_ready()        each worker of each model has loaded
... engine.target, engine.token  for the gateway's client; engine.died() while serving
engine.stop()                    work in flight is finished; nothing is left behind
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Sequence
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from showcause.engine.config import free_ports, write_config
from showcause.engine.java import find_java
from showcause.engine.pack import pack
from showcause.image import Limits
from showcause.manifest import Manifest

START_SECONDS = 180
STOP_SECONDS = 30
FAILURES_BEFORE_GIVING_UP = 2  # starts of one model's worker
LOAD_FAILED = re.compile(r"Load model failed: ([^,\s]+)")


class EngineFailed(Exception):
    """The engine could not start, or is gone; the message says why, with the end of its log."""


class TorchServe:
    """See the module's docstring. workers: processes a model, None for what its model.toml says."""

    def __init__(
        self,
        manifests: Sequence[Manifest],
        workers: int | None = None,
        gpus: int | None = None,
        limits: Limits = Limits(),
    ):
        self.manifests, self.workers, self.gpus, self.limits = list(manifests), workers, gpus, limits
        self.ports = free_ports()
        self._home = tempfile.TemporaryDirectory(prefix="showcause-")
        self.home = Path(self._home.name)
        self.echo = False  # whether its log is passed on to our stderr as it comes
        self._log: deque[str] = deque(maxlen=200)
        self._load_failures: Counter[str] = Counter()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """Address of its gRPC inference API."""
        return f"127.0.0.1:{self.ports.grpc_inference}"

    @property
    def token(self) -> str:
        """Bearer token for inference."""
        return self._key("inference")

    def start(self) -> None:
        """Packs the models and starts the JVM. Call it before grpc is initialised: it forks."""
        java, version = find_java()
        store = self.home / "store"
        archives = [pack(manifest, store, self.workers).name for manifest in self.manifests]
        config = write_config(self.home, store, archives, self.ports, self.gpus)
        quiet = ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"] if version >= 24 else []
        site = _site_packages()
        command = [
            str(java),
            "-XX:+ExitOnOutOfMemoryError",
            *quiet,
            f"-Dmodel_server_home={site}",
            f"-Djava.io.tmpdir={self.home}",
        ]
        command += [f"-Dlog4j.configurationFile=file://{self.home}/log4j2.xml", "-cp", f"{site}/ts/frontend/*"]
        command += ["org.pytorch.serve.ModelServer", "--python", sys.executable, "-f", str(config)]
        command += ["-s", str(store), "-ncs"]
        total = sum(self.workers or manifest.serving.workers for manifest in self.manifests)
        environment = os.environ | {
            "TMPDIR": str(self.home),
            "LOG_LOCATION": str(self.home),
            "METRICS_LOCATION": str(self.home),
            # Workers share the cores; more threads than cores only get in each other's way.
            "SHOWCAUSE_WORKER_THREADS": str(max(1, _cores() // total)),
            "SHOWCAUSE_MAX_IMAGE_BYTES": str(self.limits.image_bytes),
            "SHOWCAUSE_MAX_IMAGE_PIXELS": str(self.limits.image_pixels),
            "PYTHONUNBUFFERED": "1",
        }
        # A session of its own, so that Ctrl-C reaches the gateway alone, which then drains.
        self._process = subprocess.Popen(
            command,
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - called before any thread is started
        )
        threading.Thread(target=self._read_log, args=(self._process.stdout,), daemon=True).start()

    def wait_until_ready(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Returns when every worker of every model has loaded; raises EngineFailed with the reason otherwise."""
        deadline = time.monotonic() + START_SECONDS
        waiting = {manifest.name for manifest in self.manifests}
        while waiting:
            if reason := self.died():
                raise EngineFailed(reason)
            for name in sorted(waiting):
                if self.ready(name):
                    waiting.remove(name)
                    say(f"model {name} is loaded")
                elif self._load_failures[name] >= FAILURES_BEFORE_GIVING_UP:
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
        return "\n".join(list(self._log)[-lines:]) or "(no log)"

    def ready(self, name: str) -> bool:
        """Whether every worker of a model has loaded and runs."""
        try:
            (model,) = json.loads(self._get(f"/models/{name}"))
            states = [worker["status"] for worker in model["workers"]]
            return len(states) >= model["minWorkers"] and set(states) == {"READY"}
        except (OSError, HTTPException, ValueError, KeyError, TypeError):
            return False  # still starting, or not itself: whatever it said, it did not say that it is ready

    def _read_log(self, stream: IO[bytes]) -> None:
        with stream:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                self._log.append(line)
                if match := LOAD_FAILED.search(line):
                    self._load_failures[match.group(1)] += 1
                if self.echo:
                    print(f"torchserve | {line}", file=sys.stderr, flush=True)

    def _get(self, path: str) -> bytes:
        """From the management API. A proxy that the environment names is for other hosts than our own loopback."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports.management}{path}")
        request.add_header("Authorization", f"Bearer {self._key('management')}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
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


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent() -> None:
    """On Linux, ends the JVM when the gateway is killed, so that no orphan holds memory or a GPU."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
