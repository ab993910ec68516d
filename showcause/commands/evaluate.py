"""``showcause evaluate parts``: flags -> a table, results and figures. Imports torch when it runs."""

import argparse
import sys
from pathlib import Path

from showcause.manifest import ManifestError

SPLITS = ("train", "val", "test")
DEFAULT_SPLITS = ("test", "val+test")


def add_flags(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    text = "Measure what the filters of interpretable networks and of their ordinary twins stand for."
    parts = actions.add_parser("parts", help=text, description=text)
    parts.add_argument(
        "--model", action="append", required=True, type=Path, metavar="FOLDER", help="model folder; may be repeated"
    )
    parts.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="folder with crops.csv, the Animal-Part pictures"
    )
    parts.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="for table.md, results.json and the figures"
    )
    parts.add_argument(
        "--split", action="append", type=_splits, metavar="SPLIT[+SPLIT]",
        help=f"pictures to measure on, of {', '.join(SPLITS)}; may be repeated ({' and '.join(DEFAULT_SPLITS)})",
    )  # fmt: skip
    parts.add_argument(
        "--category", action="append", default=[], metavar="NAME", help="measure this one; may be repeated (all)"
    )
    parts.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """0 on success, 1 where it was refused."""
    from showcause.commands.evaluate_parts import EvaluationRefused, evaluate

    try:
        evaluate(
            options.model,
            options.data,
            options.out,
            options.split or DEFAULT_SPLITS,
            options.category,
            options.device,
            lambda text: print(text, flush=True),
        )
    except (EvaluationRefused, ManifestError) as error:
        print(f"showcause evaluate {options.action}: {error}", file=sys.stderr)
        return 1
    return 0


def _splits(text: str) -> str:
    parts = text.split("+")
    if not set(parts) <= set(SPLITS) or len(set(parts)) < len(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; {', '.join(SPLITS)}, or several joined by '+'")
    return text
