"""How commands reach a service: the flags for it, or SHOWCAUSE_* variables; a flag wins."""

import argparse
import os
from pathlib import Path

from showcause.client import Client
from showcause.client.calls import DEFAULT_TIMEOUT_SECONDS

TOKEN_VARIABLE = "SHOWCAUSE_TOKEN"
TOKEN_FILE = (
    "token-file",
    f"file with the token, where the service asks for one; or the token itself in {TOKEN_VARIABLE}",
)


def add_flags(
    parser: argparse.ArgumentParser, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, *, token: bool = True
) -> None:
    """Those beside --address. A token is no flag: command lines can be read by everybody on the machine."""
    parser.add_argument(
        "--timeout",
        type=float,
        default=timeout_seconds,
        metavar="SECONDS",
        help="longest to wait for an answer (%(default)g)",
    )
    for name, text in (
        *[TOKEN_FILE] * token,
        ("ca", "authority (PEM) that signed the service's certificate: speak TLS"),
        ("cert", "one's own certificate (PEM), where the service asks for one"),
        ("key", "its key (PEM)"),
    ):
        variable = "SHOWCAUSE_" + name.upper().replace("-", "_")
        parser.add_argument(
            f"--{name}", type=Path, default=os.environ.get(variable), metavar="FILE", help=f"{text} [{variable}]"
        )
    parser.add_argument(
        "--tls",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="TLS with a public authority; or --no-tls: send a token in plain text to another machine",
    )


def client(options: argparse.Namespace) -> Client:
    """The client for the flags; raises as ``Client`` does, and OSError for a token file that cannot be read."""
    token = os.environ.get(TOKEN_VARIABLE)
    if options.token_file:
        token = options.token_file.read_text("ascii", "replace").strip()
    return Client(
        options.address,
        options.timeout,
        token=token,
        ca=options.ca,
        certificate=options.cert,
        key=options.key,
        tls=options.tls,
    )
