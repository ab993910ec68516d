"""One TorchServe as a supervised child process.

engine = TorchServe(manifests)
engine.start()
engine.wait_until_ready()        each worker of each model has loaded, or it is said why not
... engine.target, engine.token  for the gateway's client; engine.died() while serving
engine.load(), engine.unload()   one model more, one less
engine.restart()                 after it died
engine.stop()                    work in flight is finished; nothing is left behind
"""

import json
import logging
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
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from showcause.engine.config import free_ports, write_config
from showcause.engine.cores import threads_of_each
from showcause.engine.java import find_java
from showcause.engine.pack import pack
from showcause.image import Limits
from showcause.manifest import Manifest

log = logging.getLogger("torchserve")

THREADS_VARIABLE = "SHOWCAUSE_WORKER_THREADS"
START_SECONDS = 180
METRICS_SECONDS = 2  # that Prometheus waits for TorchServe's series at most
STOP_SECONDS = 30
FAILURES_BEFORE_GIVING_UP = 2  # starts of one model's worker
LOAD_FAILED = re.compile(r"Load model failed: ([^,\s]+)")


class EngineFailed(Exception):
    """The engine could not start, or is gone; the message says why, with the end of its log."""


class TorchServe:
    """See the module's docstring. workers: processes a model, None for what its model.toml says.

    deployed: the manifests by the names that the models have in TorchServe. Each loading makes a new name, so that a
    model and what takes its place can be there at the same time.
    """

    def __init__(
        self,
        manifests: Sequence[Manifest],
        workers: int | None = None,
        gpus: int | None = None,
        limits: Limits = Limits(),
    ):
        self.workers, self.gpus, self.limits = workers, gpus, limits
        self.deployed: dict[str, Manifest] = {}
        self._loaded: Counter[str] = Counter()
        for manifest in manifests:
            self.deployed[self._new_key(manifest)] = manifest
        self._home = tempfile.TemporaryDirectory(prefix="showcause-")
        self.home = Path(self._home.name)
        self.gone = self.home / "gone"  # see ``showcause.handler``
        self.gone.mkdir()
        self.echo = False  # whether its log is passed on to ours as it comes
        self._log: deque[str] = deque(maxlen=200)
        self._load_failures: Counter[str] = Counter()
        self._process: subprocess.Popen[bytes] | None = None
        self.stopping = threading.Event()  # ends whatever waits for models to load

    @property
    def target(self) -> str:
        """Address of its gRPC inference API."""
        return f"127.0.0.1:{self.ports.grpc_inference}"

    @property
    def token(self) -> str:
        """Bearer token for inference."""
        return self._key("inference")

    def shape(self, key: str) -> tuple[int, int]:
        """How many workers a model has, and how many requests they compute together at most."""
        serving = self.deployed[key].serving
        return self.workers or serving.workers, serving.batch_size

    def start(self) -> None:
        """Packs the models and starts the JVM."""
        self._java, self._java_version = find_java()
        for key, manifest in self.deployed.items():
            pack(manifest, self._store, self.workers, key, batched=True)
        self._spawn()

    def restart(self) -> None:
        """Ends whatever is left of a JVM that died, its workers, and starts one with the same models."""
        self._end_group()
        self._load_failures.clear()
        self._spawn()

    def load(self, manifest: Manifest) -> str:
        """Begins to load a model beside the others; its name here, for ``wait_until_ready``. Raises EngineFailed."""
        key = self._new_key(manifest)
        pack(manifest, self._store, self.workers, key, batched=True)
        self.deployed[key] = manifest
        serving = manifest.serving
        settings = {
            "url": f"{key}.mar",
            "initial_workers": self.workers or serving.workers,
            "batch_size": 1,
            "response_timeout": serving.response_timeout_seconds,
            "synchronous": "false",
        }
        try:
            self._manage("POST", f"/models?{urlencode(settings)}")
        except (OSError, HTTPException) as error:
            self.unload(key)
            raise EngineFailed(f"TorchServe does not take model {manifest.name}: {error}") from error
        return key

    def unload(self, key: str) -> None:
        """Ends a model's workers; call it when nothing is in flight there."""
        with suppress(OSError, HTTPException):  # what it does not know is gone already
            self._manage("DELETE", f"/models/{key}")
        self.deployed.pop(key, None)
        (self._store / f"{key}.mar").unlink(missing_ok=True)

    def wait_until_ready(self, keys: Iterable[str] = (), say: Callable[[str], None] = lambda _: None) -> dict[str, str]:
        """Returns when every worker of the models (default: of all) has loaded or failed to; the reasons of the latter
        by name. Raises EngineFailed if TorchServe ends.
        """
        deadline = time.monotonic() + START_SECONDS
        waiting, failed = set(keys or self.deployed), dict[str, str]()
        while waiting := waiting & self.deployed.keys():  # some may be unloaded meanwhile
            if reason := self.died():
                raise EngineFailed(reason)
            for key in sorted(waiting):
                name = self.deployed[key].name
                if self.ready(key):
                    waiting.remove(key)
                    say(f"model {name} is loaded")
                elif self._load_failures[key] >= FAILURES_BEFORE_GIVING_UP:
                    waiting.remove(key)
                    failed[key] = f"model {name} cannot be loaded:\n{self.log_tail()}"
                elif time.monotonic() > deadline:
                    waiting.remove(key)
                    failed[key] = f"model {name} is not loaded after {START_SECONDS} s:\n{self.log_tail()}"
            if waiting and self.stopping.wait(0.1):
                raise EngineFailed("the service stops")
        return failed

    @property
    def _store(self) -> Path:
        return self.home / "store"

    def _new_key(self, manifest: Manifest) -> str:
        """The model's name the first time, NAME.2 the second: names of models may look like that, too."""
        while True:
            self._loaded[manifest.name] += 1
            count = self._loaded[manifest.name]
            key = manifest.name if count == 1 else f"{manifest.name}.{count}"
            if key not in self.deployed:
                return key

    def _spawn(self) -> None:
        self.ports = free_ports()
        archives = [f"{key}.mar" for key in self.deployed]
        config = write_config(self.home, self._store, archives, self.ports, self.gpus)
        (self.home / "key_file.json").unlink(missing_ok=True)  # of an earlier run
        newer = self._java_version >= 24
        quiet = ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"] if newer else []
        site = _site_packages()
        child = [sys.executable, "-I", "-S", str(Path(__file__).parent / "child.py"), str(os.getpid())]
        # It holds what passes through and little else: a small heap that grows when it must, collected simply.
        heap = ["-XX:+UseSerialGC", "-Xms64m", "-XX:+ExitOnOutOfMemoryError"]
        # UsePerfData would leave a folder beside ours in /tmp.
        java = [str(self._java), "-XX:-UsePerfData", *heap, *quiet, f"-Dmodel_server_home={site}"]
        java += [f"-Djava.io.tmpdir={self.home}", f"-Dlog4j.configurationFile=file://{self.home}/log4j2.xml"]
        java += ["-cp", f"{site}/ts/frontend/*", "org.pytorch.serve.ModelServer"]
        java += ["--python", sys.executable, "-f", str(config), "-s", str(self._store), "-ncs"]
        total = sum(self.workers or manifest.serving.workers for manifest in self.deployed.values())
        environment = os.environ | {
            "TMPDIR": str(self.home),
            "LOG_LOCATION": str(self.home),
            "METRICS_LOCATION": str(self.home),
            THREADS_VARIABLE: os.environ.get(THREADS_VARIABLE) or str(threads_of_each(total)),
            # Of OpenMP: how long a thread that waits for the next layer spins. By default it would hold a core that
            # others have work for.
            "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000"),
            "SHOWCAUSE_MAX_IMAGE_BYTES": str(self.limits.image_bytes),
            "SHOWCAUSE_MAX_IMAGE_PIXELS": str(self.limits.image_pixels),
            "SHOWCAUSE_GONE": str(self.gone),
            "PYTHONUNBUFFERED": "1",
        }
        # A session of its own, so that Ctrl-C reaches the gateway alone, which then drains.
        self._process = subprocess.Popen(
            [*child, *java],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._read_log, args=(self._process.stdout,), daemon=True).start()

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
            self._end_group()
        self._home.cleanup()

    def _end_group(self) -> None:
        """Workers outlive a JVM that was killed. Where this is process 1 of a container they have become its children,
        and nobody else lets them go.
        """
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                while True:
                    os.waitpid(-self._process.pid, 0)

    def log_tail(self, lines: int = 30) -> str:
        """The end of TorchServe's and its workers' log."""
        return "\n".join(list(self._log)[-lines:]) or "(no log)"

    def answers(self) -> bool:
        """Whether TorchServe takes requests; not so while it starts or ends."""
        try:
            self._manage("GET", "/models")
        except (OSError, HTTPException, ValueError, KeyError):
            return False
        return True

    def ready(self, key: str) -> bool:
        """Whether every worker of a model has loaded and runs."""
        states, manifest = self.worker_states(key), self.deployed.get(key)
        if manifest is None:  # unloaded meanwhile
            return False
        return len(states) >= (self.workers or manifest.serving.workers) and all(states.values())

    def worker_states(self, key: str) -> dict[int, bool]:
        """Whether each worker of a model has loaded and runs, by its process id; empty where nobody can tell."""
        try:
            (model,) = json.loads(self._manage("GET", f"/models/{key}"))
            return {worker["pid"]: worker["status"] == "READY" for worker in model["workers"]}
        except (OSError, HTTPException, ValueError, KeyError, TypeError):
            return {}  # still starting, or not itself: whatever it said, it did not say that it is ready

    def metrics_text(self) -> str:
        """Its own series, as Prometheus reads them; "" where it does not answer."""
        try:
            with _open(f"http://127.0.0.1:{self.ports.metrics}/metrics", seconds=METRICS_SECONDS) as answer:
                return answer.read().decode()
        except (OSError, HTTPException, ValueError):
            return ""

    def _read_log(self, stream: IO[bytes]) -> None:
        with stream:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                self._log.append(line)
                if match := LOAD_FAILED.search(line):
                    self._load_failures[match.group(1)] += 1
                if self.echo:
                    log.info("%s", line)

    def _manage(self, method: str, path: str) -> bytes:
        """The management API."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports.management}{path}", method=method)
        request.add_header("Authorization", f"Bearer {self._key('management')}")
        with _open(request, seconds=10) as answer:
            body: bytes = answer.read()
            return body

    def _key(self, name: str) -> str:
        key: str = json.loads((self.home / "key_file.json").read_text())[name]["key"]
        return key


def _open(request: urllib.request.Request | str, seconds: float) -> HTTPResponse:
    """A proxy that the environment names is for other hosts than our own loopback."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answer: HTTPResponse = opener.open(request, timeout=seconds)
    return answer


def _site_packages() -> Path:
    spec = find_spec("ts")
    if spec is None or not spec.submodule_search_locations:
        raise EngineFailed("torchserve is not installed: pip install 'showcause[server]'")
    return Path(next(iter(spec.submodule_search_locations))).parent
