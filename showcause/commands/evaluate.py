"""``showcause evaluate parts | maps``: flags -> a table, results and figures. Imports torch when it runs."""

import argparse
import sys
from pathlib import Path
from typing import Any

from showcause.evaluation.refusal import EvaluationRefused
from showcause.manifest import ManifestError

SPLITS = ("train", "val", "test")
DEFAULT_SPLITS = ("test", "val+test")


def add_flags(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    text = "Measure what the filters of interpretable networks and of their ordinary twins stand for."
    parts = _measuring(actions, "parts", text)
    parts.add_argument(
        "--split", action="append", type=_splits, metavar="SPLIT[+SPLIT]",
        help=f"pictures to measure on, of {', '.join(SPLITS)}; may be repeated ({' and '.join(DEFAULT_SPLITS)})",
    )  # fmt: skip
    parts.add_argument(
        "--category", action="append", default=[], metavar="NAME", help="measure this one; may be repeated (all)"
    )
    text = "Measure where a model's maps point: weakly supervised localisation, pointing games, and their controls."
    maps = _measuring(actions, "maps", text)
    maps.add_argument("--method", action="append", default=[], metavar="NAME", help="may be repeated (all it answers)")
    maps.add_argument(
        "--save",
        action="store_true",
        help="put thresholds and scores into the model folder (maps.json): replies quote them",
    )


def _measuring(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    parser.add_argument(
        "--model", action="append", required=True, type=Path, metavar="FOLDER", help="model folder; may be repeated"
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="folder with the Animal-Part pictures (crops.csv)"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="for table.md, results.json and the figures"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    return parser


def run(options: argparse.Namespace) -> int:
    """0 on success, 1 where it was refused."""
    from showcause.commands import evaluate_maps, evaluate_parts

    def say(text: str) -> None:
        print(text, flush=True)

    common = options.model, options.data, options.out
    try:
        if options.action == "maps":
            evaluate_maps.evaluate(*common, options.method, options.device, options.save, say)
        else:
            splits = options.split or DEFAULT_SPLITS
            evaluate_parts.evaluate(*common, splits, options.category, options.device, say)
    except (EvaluationRefused, ManifestError) as error:
        print(f"showcause evaluate {options.action}: {error}", file=sys.stderr)
        return 1
    return 0


def _splits(text: str) -> str:
    parts = text.split("+")
    if not set(parts) <= set(SPLITS) or len(set(parts)) < len(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; {', '.join(SPLITS)}, or several joined by '+'")
    return text
