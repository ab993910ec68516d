"""``showcause health``: whether a service answers, by grpc.health.v1; for probes, which read its exit code."""

import argparse

import grpc

from showcause.client import connect
from showcause.commands import connection

PROBE_SECONDS = 5.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", default="127.0.0.1:50051", help="gRPC address of the service (%(default)s)")
    parser.add_argument(
        "--service",
        default="",
        metavar="NAME",
        help="a model's name, live (its process runs), or none: whether all default models answer",
    )
    connection.add_flags(parser, PROBE_SECONDS, token=False)


def run(options: argparse.Namespace) -> int:
    """Prints SERVING, NOT_SERVING, or why it cannot be told, in one line; 0 for SERVING alone.

    Raises InvalidArgument and OSError for what cannot be a connection, as ``Client`` does.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # of [server]: every other command parses flags without

    # No token: who probes has none, and the service does not ask for one here.
    credentials = connect.credentials(options.address, None, options.ca, options.cert, options.key, options.tls)
    settings = connect.options(options.address)
    if credentials is None:
        channel = grpc.insecure_channel(options.address, options=settings)
    else:
        channel = grpc.secure_channel(options.address, credentials, options=settings)
    with channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=options.service), timeout=options.timeout)
        except grpc.RpcError as error:
            print(_reason(error, options))
            return 1
    print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


def _reason(error: grpc.RpcError, options: argparse.Namespace) -> str:
    code, details = error.code(), " ".join((error.details() or "").split())
    if code is grpc.StatusCode.NOT_FOUND:
        return f"unknown: {options.address} serves nothing of the name {options.service!r}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"unreachable: {options.address} did not answer within {options.timeout:g} s"
    return f"unreachable: {options.address}: {code.name}: {details}"
