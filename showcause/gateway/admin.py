"""The admin RPC: what an operator changes while the service runs. On loopback alone. Imports no torch."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from showcause.admin.v1 import admin_pb2
from showcause.gateway.deployments import Deployment, Deployments
from showcause.gateway.lifecycle import Lifecycle
from showcause.gateway.rpc import errors_as_status
from showcause.gateway.service import Service
from showcause.wire import parsed

SERVICE_NAME = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
HOST = "127.0.0.1"


def make_admin_server(service: Service, lifecycle: Lifecycle, port: int) -> tuple[grpc.aio.Server, int]:
    """A server, not started yet, and the port that it will listen on."""
    deployments = service.deployments

    async def load(request: admin_pb2.LoadModelRequest) -> admin_pb2.LoadModelResponse:
        # To the end, whether the caller waits or not.
        deployment, replaced = await asyncio.shield(lifecycle.load(request.folder))
        return admin_pb2.LoadModelResponse(deployment=_message(deployment, deployments), replaced=replaced)

    async def unload(request: admin_pb2.UnloadModelRequest) -> admin_pb2.UnloadModelResponse:
        gone = await lifecycle.unload(request.model, request.version)
        return admin_pb2.UnloadModelResponse(versions=[deployment.manifest.version for deployment in gone])

    async def set_default(request: admin_pb2.SetDefaultVersionRequest) -> admin_pb2.SetDefaultVersionResponse:
        deployments.set_default(request.model, request.version)
        return admin_pb2.SetDefaultVersionResponse()

    async def listed(_: admin_pb2.ListDeploymentsRequest) -> admin_pb2.ListDeploymentsResponse:
        return admin_pb2.ListDeploymentsResponse(deployments=[_message(each, deployments) for each in deployments])

    handlers = {
        "LoadModel": _handler(service, admin_pb2.LoadModelRequest, load),
        "UnloadModel": _handler(service, admin_pb2.UnloadModelRequest, unload),
        "SetDefaultVersion": _handler(service, admin_pb2.SetDefaultVersionRequest, set_default),
        "ListDeployments": _handler(service, admin_pb2.ListDeploymentsRequest, listed),
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))
    try:
        return server, server.add_insecure_port(f"{HOST}:{port}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {HOST}:{port}: {error}") from error


def _handler(service: Service, kind: Any, run: Callable[[Any], Awaitable[Any]]) -> grpc.RpcMethodHandler:
    async def handle(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        async with errors_as_status(context, service.caller(None, None).request_id):
            answer: bytes = (await run(parsed(kind, data))).SerializeToString()
            return answer
        raise AssertionError("an error ends the call")

    return grpc.unary_unary_rpc_method_handler(handle)


def _message(deployment: Deployment, deployments: Deployments) -> admin_pb2.Deployment:
    manifest = deployment.manifest
    return admin_pb2.Deployment(
        model=manifest.name,
        version=manifest.version,
        folder=manifest.folder.name,
        default_version=deployments.default(manifest.name) is deployment,
        in_flight=deployment.admission.in_flight,
    )
