"""TorchServe's handler for B-cos networks.

The gateway sends the fields ``operation``, ``request``, ``deadline`` and ``request_id``. A plain photo (``curl`` to
TorchServe itself, field ``data`` or ``body``) is answered with the linear map of the strongest class.
"""

import os
from pathlib import Path

import torch

from showcause.model import load
from showcause.v1 import input_pb2, service_pb2
from showcause.worker import Call, explain


class BcosHandler:
    """One model in one worker process."""

    def initialize(self, context):
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
        torch.set_num_threads(int(os.environ.get("SHOWCAUSE_WORKER_THREADS", torch.get_num_threads())))
        self.model = load(Path(properties["model_dir"]), device)

    def handle(self, data, context):
        calls = [self.read(row, context.get_request_id(index)) for index, row in enumerate(data)]
        return explain(self.model, calls)

    @staticmethod
    def read(row, engine_id):
        if "operation" in row:
            deadline = bytes(row.get("deadline", b"")).decode()
            return Call(
                bytes(row["operation"]).decode(),
                bytes(row["request"]),
                float(deadline) if deadline else None,
                bytes(row.get("request_id", b"")).decode(),
            )
        photo = bytes(row.get("data") or row.get("body") or b"")
        request = service_pb2.ExplainRequest(input=input_pb2.Input(image=photo))
        return Call("explain", request.SerializeToString(), None, engine_id)
