"""``showcause models import``: flags -> a plan; a line for each step."""

import argparse
import re
import sys
import tomllib
from pathlib import Path

from showcause import store
from showcause.image import PREPROCESSINGS, InputSpec
from showcause.importing.toml import toml_value
from showcause.reply import PROBABILITY_KINDS

HELP = "Make a model of a published or own state dict: checked, tested on a picture, put into the store."


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the new model: letters, digits, '-', '_' and '.'")
    parser.add_argument(
        "--network", required=True, metavar="NETWORK",
        help="such as bcos_resnet50, plain_resnet50 or python:MODULE:BUILDER; a wrong one is answered with the list",
    )  # fmt: skip
    parser.add_argument(
        "--weights", required=True, type=Path, metavar="FILE",
        help="state dict: .pth, .pt (tensors alone; code in it is never executed) or .safetensors",
    )  # fmt: skip
    parser.add_argument(
        "--labels", required=True, type=Path, metavar="FILE",
        help='one label a line; or .json: a list, {"0": label, ...} or ImageNet\'s {"0": [id, label], ...}',
    )  # fmt: skip
    parser.add_argument(
        "--option", action="append", default=[], type=_option, metavar="KEY=VALUE",
        help="of the network, in TOML: b=1.5; may be repeated (those it was published with)",
    )  # fmt: skip
    parser.add_argument(
        "--input", type=_size, metavar="SIDE|WIDTHxHEIGHT", help="in pixels (224; Inception 299, cifar9 32)"
    )
    parser.add_argument("--preprocessing", choices=PREPROCESSINGS, help="how photos become inputs (as published)")
    parser.add_argument(
        "--crop", type=_share, metavar="SHARE", help="share of the shorter side that a center_crop keeps (224/256)"
    )
    parser.add_argument("--probability", choices=PROBABILITY_KINDS, help="(sigmoid for B-cos networks, else softmax)")
    parser.add_argument("--version", type=_line, default="1.0", help="of the model (%(default)s)")
    parser.add_argument("--description", type=_line, help="one line for people (network, classes and file)")
    parser.add_argument(
        "--sha256", type=_digest, metavar="HEX",
        help="of the weights' file; a file name such as resnet_50-ead259efe4.pth tells its beginning",
    )  # fmt: skip
    parser.add_argument("--float16", action="store_true", help="halve the file; the self-test says what it costs")
    parser.add_argument(
        "--ignore-centring",
        action="store_true",
        help="import norms that were trained with centring, which B-cos has not",
    )
    parser.add_argument("--force", action="store_true", help="replace a model of that name")
    store.add_flag(parser)


def run(options: argparse.Namespace) -> int:
    from showcause.importing import ImportRefused
    from showcause.importing.folder import Plan, import_model, published_input

    spec = published_input(options.network)
    width, height = options.input or (spec.width, spec.height)
    plan = Plan(
        name=options.name,
        network=options.network,
        weights=options.weights,
        labels=options.labels,
        options=dict(options.option),
        input=InputSpec(width, height, options.preprocessing or spec.preprocessing, options.crop or spec.crop),
        version=options.version,
        description=options.description or "",
        probability=options.probability or "",
        sha256=options.sha256,
        ignore_centring=options.ignore_centring,
        float16=options.float16,
    )
    try:
        folder = import_model(plan, options.model_store, lambda text: print(text, flush=True), options.force)
    except ImportRefused as error:
        print(f"showcause models import: {error}", file=sys.stderr)
        return 1
    print(f"imported {folder}; showcause serve --model-store {options.model_store} {options.name}")
    return 0


def _option(text: str) -> tuple[str, object]:
    key, _, value = text.partition("=")
    try:
        table = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: {value!r} is no TOML value ({error}); a text has quotes"
        ) from error
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) or len(table) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; KEY=VALUE, such as b=1.5")
    try:
        toml_value(table["value"])
    except TypeError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    return key, table["value"]


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", text)
    if match is None or not all(8 <= int(side) <= 4096 for side in match.groups() if side):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; SIDE or WIDTHxHEIGHT, each from 8 to 4096")
    return int(match[1]), int(match[2] or match[1])


def _line(text: str) -> str:
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!a} is not allowed; one line of text")
    return text


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; above 0, up to 1")
    return share


def _digest(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; 64 hexadecimal digits")
    return text.lower()
