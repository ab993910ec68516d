"""``python -m showcause.exporting FOLDER OUT``: what ``showcause pack --runtime onnxruntime`` runs in a process of its
own, because torch has no place in the gateway's."""

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from showcause.manifest import ManifestError
from showcause.model import load

EXTRAS = "pip install 'showcause[onnxruntime]', or 'showcause[onnxruntime-gpu]' where there is a GPU"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m showcause.exporting", description=__doc__)
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("out", type=Path, help="folder for the graphs")
    options = parser.parse_args(arguments)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # that there is no torchvision
    warnings.simplefilter("ignore")
    try:
        from showcause.exporting.graphs import export
    except ModuleNotFoundError as error:
        print(f"ONNX Runtime needs more than is installed: {error}; {EXTRAS}", file=sys.stderr)
        return 1
    try:
        for line in export(load(options.folder), options.out):
            print(line)
    except ManifestError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:  # the exporter's and the runtime's are many
        print(f"{options.folder}: cannot be exported: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
