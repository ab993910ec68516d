"""What TorchServe runs in each worker process; ``handlers/`` has a class of it for each kind of network.

The gateway sends batches and gets envelopes (``protos/showcause/engine/v1/call.proto``). Whose ticket lies as a file in
the folder SHOWCAUSE_GONE has gone away: what nobody reads is not computed. A plain photo (sent to
TorchServe's own REST API as the body, or as the field ``data``) is answered in JSON, with the model's first method for
the strongest class.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from google.protobuf.json_format import MessageToJson

from showcause.engine.v1 import call_pb2
from showcause.errors import ShowcauseError, to_status
from showcause.freed_memory import FreedMemory
from showcause.image import Limits
from showcause.model import load
from showcause.v1 import input_pb2, service_pb2
from showcause.wire import unseal
from showcause.worker import Call, explain

MOST_ANSWER_BYTES = 64 * 1024 * 1024  # of a batch; one reply alone may have as much (``request.MOST_REPLY_BYTES``)


class Handler:
    """One model in one worker process. TorchServe takes a class of the handler's own file, so that each derives one."""

    gone = Path(os.devnull)  # without a gateway nobody's leaving is told

    def initialize(self, context: Any) -> None:
        """Loads the model that TorchServe has unpacked."""
        warnings.filterwarnings("ignore", module="PIL")  # what is wrong with a photo is the caller's to know
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
        torch.set_num_threads(int(os.environ.get("SHOWCAUSE_WORKER_THREADS", torch.get_num_threads())))
        self.model = load(Path(properties["model_dir"]), device, packed=True)
        self.memory = FreedMemory()
        self.gone = Path(os.environ.get("SHOWCAUSE_GONE", self.gone))
        self.limits = Limits(
            int(os.environ.get("SHOWCAUSE_MAX_IMAGE_BYTES", Limits.image_bytes)),
            int(os.environ.get("SHOWCAUSE_MAX_IMAGE_PIXELS", Limits.image_pixels)),
        )

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Rows, each a batch of the gateway's or a plain photo -> as many answers."""
        rows = [to_calls(row, self.gone) for row in data]
        envelopes = iter(explain(self.model, [call for calls in rows for call in calls], self.limits))
        self.memory.used()
        answers = [[next(envelopes) for _ in calls] for calls in rows]
        return [
            together(answer) if "batch" in row else as_json(answer[0])
            for row, answer in zip(data, answers, strict=True)
        ]


def together(envelopes: Sequence[bytes]) -> bytes:
    """The answer to a batch. TorchServe takes only so much at once: what goes beyond that is left for a next time."""
    room, answer = MOST_ANSWER_BYTES, call_pb2.Answers()
    for number, envelope in enumerate(envelopes):
        room -= len(envelope)
        answer.envelopes.append(envelope if room >= 0 or not number else b"")
    return answer.SerializeToString()


def to_calls(row: Mapping[str, Any], gone: Path) -> list[Call]:
    """One row of TorchServe's."""
    if "batch" in row:
        return [
            Call(sent.operation, sent.request, sent.deadline, sent.request_id, (gone / sent.ticket).exists)
            for sent in call_pb2.Batch.FromString(bytes(row["batch"])).calls
        ]
    photo = row.get("data") or row.get("body")
    # A JSON body comes parsed: it is no photo, and is answered like one that is missing.
    image = bytes(photo) if isinstance(photo, bytes | bytearray) else b""
    return [Call("explain", service_pb2.ExplainRequest(input=input_pb2.Input(image=image)).SerializeToString())]


def as_json(envelope: bytes) -> bytes:
    """What a plain photo's sender can read."""
    message: Any
    try:
        message = service_pb2.ExplainResponse.FromString(unseal(envelope))
    except ShowcauseError as error:
        message = to_status(error)
    return MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True).encode()
