"""The image's install steps in a clean folder, and the service from it: nobody's user on a read-only root.

No container engine is needed: root and Linux's namespaces are.
"""

import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from showcause import Client
from tests import serving
from tests.deploy import dockerfile
from tests.processes import children, wait_for_end

HERE = Path(__file__).parent
COMPILERS = {"gcc", "cc", "c++", "g++", "clang", "as", "ld", "make", "ninja", "nvcc", "pip"}
NOBODY = 10001
UNCHECKED_HASH = 0b01  # PEP 552
HEALTH = re.compile(r'health for probes, in plain text, on ([^\s"]+)')

pytestmark = pytest.mark.timeout(900)  # torch is installed once more


def may_unshare() -> bool:
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "setpriv"))):
        return False
    command = ["unshare", "--mount", "--pid", "--fork", "mount", "--make-rprivate", "/"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """What the Dockerfile's build stage makes, from nothing but the files that it copies."""
    with tempfile.TemporaryDirectory(prefix="showcause-image-", dir="/var/tmp") as folder:  # not in /tmp: see root.sh
        yield install(Path(folder))


def install(folder: Path) -> Path:
    """Runs the steps below ``folder``; where the service is then."""
    for source, target in dockerfile.copied("source"):
        place = folder / "source" / target
        place = place / Path(source).name if target.endswith("/") or target == "." else place
        place.parent.mkdir(parents=True, exist_ok=True)
        if (dockerfile.ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.mar")
            shutil.copytree(dockerfile.ROOT / source, place, ignore=ignored)
        else:
            shutil.copy(dockerfile.ROOT / source, place)
    # Of this machine's settings only where pip finds packages.
    kept = ("PIP_", "TORCH_INDEX_URL", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy")
    environment = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    environment["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    command = ["sh", "deploy/image/install.sh", "cuda" if torch.version.cuda else "cpu", ".", str(folder / "prefix")]
    done = subprocess.run(command, cwd=folder / "source", env=environment, capture_output=True, text=True, check=False)
    if "No matching distribution found for torch==" in done.stderr:
        pytest.skip(f"pip finds no such torch; TORCH_INDEX_URL can name where: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "prefix"


@dataclass
class Sealed:
    """A service in a root of its own. init: its process, number 1 in there."""

    running: serving.Running
    init: int
    environment: list[str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command beside the service, with the same root, user and environment."""
        enter = ["nsenter", "--target", str(self.init), "--mount", "--pid", "--root"]
        # By their places in there: PATH is this process's own.
        user = [
            "/usr/bin/setpriv",
            "--reuid",
            str(NOBODY),
            "--regid",
            str(NOBODY),
            "--clear-groups",
            "--bounding-set=-all",
        ]
        return subprocess.run(
            [*enter, "/usr/bin/env", "-i", *self.environment, *user, "--", *command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def written(self) -> list[str]:
        """What lies in its /tmp."""
        return sorted(path.name for path in Path(f"/proc/{self.init}/root/tmp").iterdir())


@pytest.fixture(scope="module")
def sealed(tree, tmp_path_factory) -> Iterator[Sealed]:
    """The service as the image starts it, but for the ports."""
    if not may_unshare():
        pytest.skip("needs root on Linux with util-linux, for namespaces of their own")
    kind = "cuda" if torch.version.cuda else "cpu"
    given = dockerfile.environment(kind) | {"SHOWCAUSE_HOST": "127.0.0.1", "SHOWCAUSE_HEALTH_PORT": "0"}
    given["PATH"] = f"{tree}/bin:/usr/bin:/bin"
    environment = [f"{name}={value}" for name, value in given.items()]
    readable = [str(tree), *[sys.base_prefix] * (not sys.base_prefix.startswith("/usr"))]
    root = tmp_path_factory.mktemp("root")
    program = (
        "env", "-i", *environment, "unshare", "--mount", "--pid", "--fork", "--kill-child",
        "sh", str(HERE / "root.sh"), str(root), str(NOBODY), *readable, "--", str(tree / "bin/showcause"),
    )  # fmt: skip
    running = serving.start(program=program)
    found = children(running.process.pid)
    if not running.grpc:
        running.process.kill()
        pytest.fail(f"the service did not start:\n{running.output}")
    yield Sealed(running, found[0], environment)
    if running.process.poll() is None:
        running.process.kill()  # and all that it is the first process of
        running.process.wait()


def test_no_compiler_is_left_behind(tree):
    found = [path for path in tree.rglob("*") if path.name in COMPILERS and path.is_file()]
    assert not found
    assert not list(tree.rglob("site-packages/pip"))


def test_nobody_can_change_it_and_nothing_in_it_raises_rights(tree):
    for path in (tree, *tree.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue
        assert not mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID), path
        assert mode & stat.S_IROTH, path


def test_what_can_be_imported_is_compiled_for_good(tree):
    importable = list(tree.rglob("site-packages/**/*.py"))
    assert len(importable) > 2000
    for path in importable:
        compiled = Path(importlib.util.cache_from_source(str(path)))
        if not compiled.exists():
            with pytest.raises(SyntaxError):  # written for a newer Python
                compile(path.read_bytes(), path, "exec")
            continue
        with compiled.open("rb") as file:
            assert int.from_bytes(file.read(8)[4:], "little") == UNCHECKED_HASH, compiled


def test_it_explains_photos(sealed, photo):
    with Client(sealed.running.grpc) as client:
        assert [model.name for model in client.models()] == ["animals-bcos", "animals-cnn", "animals-parts"]
        for model in ("animals-bcos", "animals-cnn", "animals-parts"):
            assert client.explain(photo, model=model).predictions[0].label == "cat"


def test_its_health_check(sealed):
    port = HEALTH.search(sealed.running.output).group(1)
    done = sealed.run("showcause", "health", "--address", port)
    assert (done.returncode, done.stdout, done.stderr) == (0, "SERVING\n", "")
    done = sealed.run("showcause", "health", "--address", port, "--service", "live")
    assert (done.returncode, done.stdout) == (0, "SERVING\n")


def test_who_it_is(sealed):
    inside = [sealed.init, *children(sealed.init)]
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in inside]
    for part in (b"showcause", b"ModelServer", b"model_service_worker"):
        assert any(part in command for command in commands), part
    for pid in inside:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(NOBODY)}
        assert status["Groups"].strip() == ""
        assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"


def test_it_can_write_in_tmp_alone(sealed, tree):
    done = sealed.run("sh", "-c", "find / -path /proc -prune -o -writable ! -type l -print")
    writable = set(done.stdout.split())
    assert {path for path in writable if not path.startswith(("/tmp/", "/dev/"))} == {"/tmp"}
    for folder in ("/", "/usr", "/etc", "/dev", sys.base_prefix, str(tree)):
        assert "Read-only file system" in sealed.run("touch", f"{folder}/mine").stderr, folder
    assert sealed.run("touch", "/tmp/mine").returncode == 0
    assert sealed.run("rm", "/tmp/mine").returncode == 0


def test_what_it_writes_is_one_folder(sealed):
    (name,) = sealed.written()
    assert name.startswith("showcause-")
    size = int(sealed.run("du", "-sm", "/tmp").stdout.split()[0])
    assert 20 < size < 200  # the packed models, twice


def test_it_ends_cleanly(sealed):
    """The last one: SIGTERM to the namespace's first process, which no default handler would end."""
    inside = [sealed.init, *children(sealed.init)]
    # Holds its /tmp beyond its end.
    tmp = os.open(f"/proc/{sealed.init}/root/tmp", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.kill(sealed.init, signal.SIGTERM)
        assert sealed.running.process.wait(60) == 0, sealed.running.output
        assert not wait_for_end(inside)
        assert os.listdir(tmp) == []
    finally:
        os.close(tmp)
