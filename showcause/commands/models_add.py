"""``showcause models add``: a model that PyPI packages bring, made as ``models import`` makes one."""

import argparse
import sys
import tempfile
from pathlib import Path

from showcause import store

HELP = "Make a model of what a PyPI package brings: imagenet-lite0, ImageNet's 1,000 classes (the extra `imagenet`)."


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", choices=["imagenet-lite0"], help="imagenet-lite0")
    parser.add_argument("--force", action="store_true", help="replace a model of that name")
    store.add_flag(parser)


def run(options: argparse.Namespace) -> int:
    from showcause.importing import ImportRefused
    from showcause.importing.folder import import_model
    from showcause.importing.published import PUBLISHED

    try:
        with tempfile.TemporaryDirectory() as folder:
            plan = PUBLISHED[options.name](Path(folder) / "labels.txt")
            made = import_model(plan, options.model_store, lambda text: print(text, flush=True), options.force)
    except ImportRefused as error:
        print(f"showcause models add: {error}", file=sys.stderr)
        return 1
    print(f"added {made}; showcause serve --model-store {options.model_store} {options.name}")
    return 0
