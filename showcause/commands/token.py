"""``showcause token``: a new token for somebody, and its hash in the file that `showcause serve --tokens` reads."""

import argparse
import sys
from pathlib import Path

from showcause.gateway.access import add_token


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="whose it is: 1 to 64 of A-Z a-z 0-9 _ -")
    parser.add_argument("--file", type=Path, required=True, help="of tokens; made where there is none")
    parser.add_argument(
        "--models",
        type=lambda text: [name.strip() for name in text.split(",")],
        metavar="A,B",
        help="that it may use (all; with --metrics none)",
    )
    parser.add_argument("--metrics", action="store_true", help="it may read the metrics")


def run(options: argparse.Namespace) -> int:
    """Prints the token alone on stdout; raises TokenFileError."""
    models = [] if options.models is None and options.metrics else options.models
    token = add_token(options.file, options.name, models, options.metrics)
    print(f"the token of {options.name}; it is kept nowhere and not shown again:", file=sys.stderr)
    print(token)
    return 0
