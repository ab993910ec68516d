"""The gateway's way to the engine: a protocol, and TorchServe behind it."""

import logging
import time
from typing import Protocol

import grpc

from showcause.engine.config import MAX_MESSAGE_BYTES
from showcause.engine.v1 import prediction_pb2
from showcause.errors import DeadlineExceeded, ResourceExhausted, ShowcauseError, Unavailable

log = logging.getLogger(__name__)

METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


class Engine(Protocol):
    """Whatever computes: a fake one in tests of what cannot be provoked otherwise."""

    async def answer(self, model: str, operation: str, request: bytes, deadline: float, request_id: str) -> bytes:
        """The envelope (``showcause.wire``) for one request; deadline in seconds since the epoch.

        Raises DeadlineExceeded or Unavailable.
        """
        ...


class TorchServeClient:
    """TorchServe's gRPC inference API on loopback."""

    def __init__(self, target: str, token: str):
        sizes = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.aio.insecure_channel(target, options=[*sizes, ("grpc.enable_http_proxy", 0)])
        self._metadata = (("protocol", "gRPC"), ("authorization", f"Bearer {token}"))
        self._predict = self._channel.unary_unary(
            METHOD,
            request_serializer=prediction_pb2.PredictionsRequest.SerializeToString,
            response_deserializer=prediction_pb2.PredictionResponse.FromString,
        )

    async def answer(self, model: str, operation: str, request: bytes, deadline: float, request_id: str) -> bytes:
        fields = {
            "operation": operation.encode(),
            "request": request,
            "deadline": repr(deadline).encode(),
            "request_id": request_id.encode(),
        }
        message = prediction_pb2.PredictionsRequest(model_name=model, input=fields)
        try:
            reply = await self._predict(message, metadata=self._metadata, timeout=max(0.0, deadline - time.time()))
        except grpc.aio.AioRpcError as error:
            raise _translated(error, model) from error
        envelope: bytes = reply.prediction
        return envelope

    async def close(self) -> None:
        await self._channel.close()


def _translated(error: grpc.aio.AioRpcError, model: str) -> ShowcauseError:
    """TorchServe's own errors; what the handler found wrong comes in the envelope instead."""
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("DEADLINE_EXCEEDED", "the deadline passed before the engine answered")
    details = error.details() or ""
    log.warning("engine: %s: %s", error.code().name, details)
    if "has no worker" in details:
        return ResourceExhausted("QUEUE_FULL", f"the queue of model {model} is full; try again later")
    return Unavailable("ENGINE_UNAVAILABLE", f"the worker of model {model} is not there; try again")
