"""The service's settings: flags of ``showcause serve`` or SHOWCAUSE_* variables; a flag wins."""

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from showcause import store
from showcause.gateway import logs
from showcause.gateway.access import Access
from showcause.gateway.admission import QUEUE_SIZE
from showcause.image import Limits
from showcause.tls import Tls, is_loopback

ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+")
ORIGINS_VARIABLE = "SHOWCAUSE_CORS_ORIGIN"


class SettingsError(ValueError):
    """A setting that is not allowed, or that does not go with another."""


@dataclass(frozen=True)
class Settings:
    """Ports of 0 let the system choose. names: models to serve, none for all of the store.

    access, tls: who gets in, and over what; cors_origins: whose web pages may ask. max_uploads, max_upload_bytes: of
    requests that are being read at once, for gRPC and for REST each (gRPC does not tell the bytes).
    max_connection_calls: at once on one gRPC connection; max_streams: open at once; max_stream_photos: 0 for no limit.
    max_connection_age_seconds: after which gRPC clients are asked to connect again, 0 for never. health_port: of health
    alone, in plain text, for probes; None for none. log_format: see ``logs``.
    """

    model_store: Path
    names: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    grpc_port: int = 50051
    rest_port: int = 8080
    metrics_port: int = 9464
    admin_port: int = 50052
    workers: int | None = None
    gpus: int | None = None
    timeout_seconds: float = 60.0
    grace_seconds: float = 30.0
    stream_window: int = 16
    queue_size: int = QUEUE_SIZE
    limits: Limits = Limits()
    access: Access = Access()
    tls: Tls | None = None
    cors_origins: tuple[str, ...] = ()
    max_uploads: int = 128
    max_upload_bytes: int = 1 << 30
    max_connection_calls: int = 1000
    max_streams: int = 100
    max_stream_photos: int = 0
    max_connection_age_seconds: float = 0.0
    health_port: int | None = None
    log_format: str = "text"

    def exposure(self) -> str:
        """What an address that others can reach lacks, in one line; "" where nothing is lacking."""
        lacking = [] if self.tls else ["no TLS (--tls-cert, --tls-key)"]
        lacking += [] if self.access.path else ["no token asked for (--tokens)"]
        if is_loopback(self.host) or not lacking:
            return ""
        return f"others can reach {self.host}, and there is {' and '.join(lacking)}; see SECURITY.md"


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
    flag("admin-port", Settings.admin_port, _port, "admin RPC, on loopback alone; 0 for a free one")
    flag("health-port", None, _port, "gRPC health alone, never with TLS: for Kubernetes' probes; default: none")
    flag("workers", None, _positive, "worker processes a model; default: what its model.toml says")
    flag("gpus", None, int, "GPUs to use; default: all there are")
    flag(
        "timeout-seconds",
        Settings.timeout_seconds,
        float,
        "longest a request may take; a caller may set less",
    )
    flag("grace-seconds", Settings.grace_seconds, float, "longest that accepted requests may take after SIGTERM")
    flag("queue-size", Settings.queue_size, _positive, "requests that wait for one model, at most; more are refused")
    flag("stream-window", Settings.stream_window, _positive, "photos of one stream that are not answered yet, at most")
    flag("max-image-bytes", limits.image_bytes, _positive, "largest photo, encoded")
    flag("max-image-pixels", limits.image_pixels, _positive, "largest photo, decoded")
    flag(
        "log-format",
        logs.default_format(),
        _log_format,
        "json: an object a line; text: for people, where stderr is a terminal",
    )
    flag("tokens", None, Path, "file of tokens (`showcause token` makes one): only their holders are answered")
    flag("tls-cert", None, Path, "certificate (PEM, with its chain): gRPC, REST and metrics speak TLS")
    flag("tls-key", None, Path, "its key (PEM)")
    flag("tls-client-ca", None, Path, "authority (PEM) that must have signed the certificate of every client")
    parser.add_argument(
        "--cors-origin",
        action="append",
        metavar="ORIGIN",
        help=f"whose web pages may ask, such as https://ward.example; may be repeated [{ORIGINS_VARIABLE}; none]",
    )
    flag("max-uploads", Settings.max_uploads, _positive, "requests that are being sent at once, of gRPC and REST each")
    flag("max-upload-bytes", Settings.max_upload_bytes, _positive, "their bytes at most, of REST")
    flag("max-connection-calls", Settings.max_connection_calls, _positive, "calls at once on one gRPC connection")
    flag(
        "max-connection-age-seconds",
        0.0,
        _seconds,
        "after which gRPC clients are asked to connect again, so that they find new replicas; 0 for never",
    )
    flag("max-streams", Settings.max_streams, _positive, "streams that are open at once")
    flag("max-stream-photos", Settings.max_stream_photos, _whole, "photos on one stream; 0 for no limit")


def from_flags(options: argparse.Namespace) -> Settings:
    """The settings that parsed flags mean; raises SettingsError, and OSError for files that cannot be used."""
    return Settings(
        model_store=options.model_store,
        names=tuple(options.names),
        host=options.host,
        grpc_port=options.grpc_port,
        rest_port=options.rest_port,
        metrics_port=options.metrics_port,
        admin_port=options.admin_port,
        workers=options.workers,
        gpus=options.gpus,
        timeout_seconds=options.timeout_seconds,
        grace_seconds=options.grace_seconds,
        stream_window=options.stream_window,
        queue_size=options.queue_size,
        limits=Limits(options.max_image_bytes, options.max_image_pixels),
        access=Access(options.tokens),
        tls=_tls(options),
        cors_origins=_origins(options),
        max_uploads=options.max_uploads,
        max_upload_bytes=options.max_upload_bytes,
        max_connection_calls=options.max_connection_calls,
        max_streams=options.max_streams,
        max_stream_photos=options.max_stream_photos,
        max_connection_age_seconds=options.max_connection_age_seconds,
        health_port=options.health_port,
        log_format=options.log_format,
    )


def _tls(options: argparse.Namespace) -> Tls | None:
    certificate, key, client_ca = options.tls_cert, options.tls_key, options.tls_client_ca
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise SettingsError("TLS takes both --tls-cert and --tls-key")
    return Tls(certificate, key, client_ca)


def _origins(options: argparse.Namespace) -> tuple[str, ...]:
    origins = options.cors_origin or os.environ.get(ORIGINS_VARIABLE, "").split()
    for one in origins:
        if not ORIGIN.fullmatch(one):
            raise SettingsError(f"--cors-origin: not allowed; got {one!r}; allowed: such as https://ward.example:8443")
    return tuple(origins)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; allowed: 0 to 65535")
    return port


def _log_format(text: str) -> str:
    if text not in logs.FORMATS:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; {' or '.join(logs.FORMATS)}")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not allowed; at least 0")
    return seconds


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; at least 0")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; at least 1")
    return number
