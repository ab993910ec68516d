"""A model folder -> its graphs for ONNX Runtime. Imports no torch."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from showcause.manifest import Manifest, ManifestError


def exported(manifest: Manifest, out: Path, say: Callable[[str], None]) -> list[Path]:
    """The model's graphs, made in a process of its own: it takes torch and some seconds. say: is told how it goes."""
    say(f"exporting {manifest.name} for ONNX Runtime")
    command = [sys.executable, "-m", "showcause.exporting", str(manifest.folder), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        printed, wrong = child.communicate()
    if child.returncode:
        raise ManifestError(wrong.strip() or f"{manifest.folder}: the export ended with code {child.returncode}")
    for line in printed.splitlines():
        say(f"{manifest.name} in ONNX Runtime: {line}")
    return sorted(out.glob("*.onnx"))
