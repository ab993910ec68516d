"""The service's settings: flags of ``showcause serve`` or SHOWCAUSE_* variables; a flag wins."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from showcause import store
from showcause.image import Limits


@dataclass(frozen=True)
class Settings:
    """Ports of 0 let the system choose. names: models to serve, none for all of the store."""

    model_store: Path
    names: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    grpc_port: int = 50051
    rest_port: int = 8080
    metrics_port: int = 9464
    workers: int | None = None
    gpus: int | None = None
    timeout_seconds: float = 60.0
    grace_seconds: float = 30.0
    stream_window: int = 16
    limits: Limits = Limits()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``showcause serve``; the environment gives the defaults."""

    def flag(name: str, default: object, kind: Callable[[str], object], text: str) -> None:
        variable = "SHOWCAUSE_" + name.upper().replace("-", "_")
        sent = os.environ.get(variable)
        shown = "" if default is None else f"; default {default}"
        parser.add_argument(
            f"--{name}", default=default if sent is None else sent, type=kind, help=f"{text} [{variable}{shown}]"
        )

    limits = Limits()
    parser.add_argument("names", nargs="*", metavar="MODEL", help="models to serve; default: all of the store")
    store.add_flag(parser)
    flag("host", Settings.host, str, "address to listen on; 0.0.0.0 for all")
    flag("grpc-port", Settings.grpc_port, _port, "gRPC; 0 for a free one")
    flag("rest-port", Settings.rest_port, _port, "REST; 0 for a free one")
    flag("metrics-port", Settings.metrics_port, _port, "Prometheus metrics; 0 for a free one")
    flag("workers", None, _positive, "worker processes a model; default: what its model.toml says")
    flag("gpus", None, int, "GPUs to use; default: all there are")
    flag(
        "timeout-seconds",
        Settings.timeout_seconds,
        float,
        "longest a request may take; a caller may set less",
    )
    flag("grace-seconds", Settings.grace_seconds, float, "longest that accepted requests may take after SIGTERM")
    flag("stream-window", Settings.stream_window, _positive, "photos of one stream that are not answered yet, at most")
    flag("max-image-bytes", limits.image_bytes, _positive, "largest photo, encoded")
    flag("max-image-pixels", limits.image_pixels, _positive, "largest photo, decoded")


def from_flags(options: argparse.Namespace) -> Settings:
    """The settings that parsed flags mean."""
    return Settings(
        model_store=options.model_store,
        names=tuple(options.names),
        host=options.host,
        grpc_port=options.grpc_port,
        rest_port=options.rest_port,
        metrics_port=options.metrics_port,
        workers=options.workers,
        gpus=options.gpus,
        timeout_seconds=options.timeout_seconds,
        grace_seconds=options.grace_seconds,
        stream_window=options.stream_window,
        limits=Limits(options.max_image_bytes, options.max_image_pixels),
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; allowed: 0 to 65535")
    return port


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; at least 1")
    return number
