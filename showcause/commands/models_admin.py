"""``showcause models load | unload | default``: what a running service serves, changed without a lost request."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from showcause.admin.v1 import admin_pb2
from showcause.admin.v1.admin_pb2_grpc import AdminServiceStub
from showcause.errors import from_rpc_error

DEFAULT_ADMIN = "127.0.0.1:50052"


def _admin_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--admin", default=DEFAULT_ADMIN, metavar="HOST:PORT", help="the service's admin RPC, on its host (%(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="longest to wait for it (%(default)g)"
    )


def load_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="name of a folder in the service's model store")
    _admin_flags(parser)


def unload_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the model")
    parser.add_argument("--version", default="", help="this one alone (all)")
    _admin_flags(parser)


def default_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the model")
    parser.add_argument("version", metavar="VERSION", help="that answers requests which name none")
    _admin_flags(parser)


def load(options: argparse.Namespace) -> int:
    with _asking(options) as ask:
        answer = ask("LoadModel", admin_pb2.LoadModelRequest(folder=options.folder))
        made = answer.deployment
        verb = "reloaded" if answer.replaced else "loaded"
        others = "" if made.default_version else "; requests that name no version get another one"
        print(f"{verb} {made.model} {made.version} from {made.folder}{others}")
    return 0


def unload(options: argparse.Namespace) -> int:
    with _asking(options) as ask:
        answer = ask("UnloadModel", admin_pb2.UnloadModelRequest(model=options.name, version=options.version))
        print(f"unloaded {options.name} {', '.join(answer.versions)}: what it has accepted it still answers")
    return 0


def default(options: argparse.Namespace) -> int:
    with _asking(options) as ask:
        ask("SetDefaultVersion", admin_pb2.SetDefaultVersionRequest(model=options.name, version=options.version))
        print(f"requests for {options.name} that name no version get {options.version}")
    return 0


@contextmanager
def _asking(options: argparse.Namespace) -> Iterator[Callable[[str, Any], Any]]:
    """A function that calls the admin RPC; raises ShowcauseError where it refuses."""
    with grpc.insecure_channel(options.admin) as channel:
        stub = AdminServiceStub(channel)

        def ask(method: str, request: Any) -> Any:
            try:
                return getattr(stub, method)(request, timeout=options.timeout)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None

        yield ask
