"""A model folder -> its graphs for ONNX Runtime. Imports no torch."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from showcause.manifest import Manifest, ManifestError

EXPORT_SECONDS = 600


def exported(manifest: Manifest, out: Path, say: Callable[[str], None]) -> list[Path]:
    """The model's graphs, made in a process of its own: it takes torch and some seconds. say: is told how it goes."""
    say(f"exporting {manifest.name} for ONNX Runtime")
    # -P: what lies in the folder in which the service was started is no module of ours.
    command = [sys.executable, "-P", "-m", "showcause.exporting", str(manifest.folder), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            printed, wrong = child.communicate(timeout=EXPORT_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            raise ManifestError(f"{manifest.folder}: the export was not done after {EXPORT_SECONDS} s") from None
    if child.returncode:
        raise ManifestError(wrong.strip() or f"{manifest.folder}: the export ended with code {child.returncode}")
    for line in printed.splitlines():
        say(f"{manifest.name} in ONNX Runtime: {line}")
    return sorted(out.glob("*.onnx"))
