"""Where stock TorchServe's ratio to our service comes from: each stage of a request alone.

They run in a process that has threads like a worker's: those of this one would spin while others have work to do. A
request is a photo decoded to a tensor, a computation, and a reply that is written and read; the rest of what a
caller waits for is the way there and back: HTTP or gRPC, queues, the JVM, our gateway.
"""

import importlib.util
import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerGradCam
from maps_cost import ours
from PIL import Image
from stock_services import STOCK, threading_as_ours
from torch import Tensor, nn

from showcause.client.calls import explain_request
from showcause.image import decode, frame_of, to_input
from showcause.model import Model, load
from showcause.nets.ordinary import MEAN, STD
from showcause.reply import Reply
from showcause.v1 import model_pb2, service_pb2
from showcause.wire import frame_message, prediction_message, read_reply, seal, unseal
from showcause.wire_explanation import explanation_message
from showcause.worker import Call, explain

STEPS = 15  # ``VisionHandler.get_insights``
MANY = 8
REPEATS = 5  # of a stage in a round: some take a fraction of a millisecond
STAGES = ("photo to tensor", "computed", "written", "read")
FLOAT32 = np.dtype("<f4")


def module_of(name: str) -> ModuleType:
    """A file of ``stock/``, which is imported by the peer and no package of ours."""
    spec = importlib.util.spec_from_file_location(f"stock_{name.replace('/', '_')}", STOCK / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{STOCK / name}.py cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stock_network(model: Model) -> nn.Module:
    """The eager network as the stock handler loads it: its parameters want gradients, its memory is NCHW."""
    net: nn.Module = module_of("model").AnimalsCnn()
    net.load_state_dict({key: value.contiguous() for key, value in model.net.state_dict().items()})
    return net.eval()


def stock_pipeline() -> Callable[[Image.Image], Tensor]:
    """``ImageClassifier.image_processing``: a photo -> (3, 224, 224), normalised."""
    t = module_of("torchvision/transforms")
    return t.Compose([t.Resize(256), t.CenterCrop(224), t.ToTensor(), t.Normalize(mean=MEAN, std=STD)])


def integrated_gradients(net: nn.Module, x: Tensor) -> Tensor:
    """As ``VisionHandler.get_insights`` for class 0, which it explains unless it is told another: (N, 3, H, W)."""
    found: Tensor = IntegratedGradients(net).attribute(x, target=0, n_steps=STEPS)
    return found


def grad_cam(net: nn.Module, x: Tensor) -> Tensor:
    """As ``grad_cam_handler``: (N, 1, h, w)."""
    with torch.no_grad():
        strongest = net(x).argmax(1)
    found: Tensor = LayerGradCam(net, net.features[-1]).attribute(x, strongest, relu_attributions=True)
    return found


def write_json(found: Tensor) -> bytes:
    """As TorchServe's worker does: ``create_predict_response``."""
    return json.dumps(found.tolist(), indent=2).encode("utf-8")


def read_json(body: bytes) -> np.ndarray:
    """As its client does."""
    return np.array(json.loads(body), np.float32)


def own_tensor(model: Model, photo: bytes) -> Tensor:
    """As our worker prepares it: (3, 224, 224) in 0..1; the network normalises."""
    image = decode(photo)
    return torch.from_numpy(to_input(image, frame_of(image.size, None, model.manifest.input)))


def own_answer(model: Model, photo: bytes) -> service_pb2.ExplainResponse:
    """Our worker's answer with the raw map, in the dtype that the client asks for by default."""
    request = explain_request(photo, methods="grad_cam").SerializeToString()
    return service_pb2.ExplainResponse.FromString(unseal(explain(model, [Call("explain", request)])[0]))


def written(reply: Reply, receipt: model_pb2.Receipt) -> bytes:
    """Our worker's last step: plain data -> an envelope."""
    response = service_pb2.ExplainResponse(
        predictions=[prediction_message(one) for one in reply.predictions],
        frame=frame_message(reply.frame),
        receipt=receipt,
        explanations=[explanation_message(one, FLOAT32) for one in reply.explanations],
    )
    return seal(response)


def stages(model: Model, photo: bytes) -> dict[str, Callable[[], object]]:
    """Each stage of each contestant at batch 1, as "CONTESTANT: STAGE", and our computation for a batch of MANY."""
    net, pipeline = stock_network(model), stock_pipeline()
    stock_x = pipeline(Image.open(io.BytesIO(photo)))[None]
    own_x = own_tensor(model, photo)[None]
    many = own_x.repeat(MANY, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    found = {"stock default": integrated_gradients(net, stock_x)[0], "stock Grad-CAM": grad_cam(net, stock_x)[0, 0]}
    bodies = {name: write_json(each) for name, each in found.items()}
    answer = own_answer(model, photo)
    reply, receipt = read_reply(answer), answer.receipt
    sealed = written(reply, receipt)

    contestants: dict[str, Callable[[], object]] = {
        "stock default: computed": lambda: integrated_gradients(net, stock_x),
        "stock Grad-CAM: computed": lambda: grad_cam(net, stock_x),
        "our grad_cam: photo to tensor": lambda: own_tensor(model, photo),
        "our grad_cam: computed": lambda: ours(model, own_x, "grad_cam"),
        f"our grad_cam: computed, batch {MANY}": lambda: ours(model, many, "grad_cam"),
        "our grad_cam: written": lambda: written(reply, receipt),
        "our grad_cam: read": lambda: read_reply(service_pb2.ExplainResponse.FromString(unseal(sealed))),
    }
    for name, each in found.items():
        contestants |= {
            f"{name}: photo to tensor": lambda: pipeline(Image.open(io.BytesIO(photo))),
            f"{name}: written": lambda each=each: write_json(each),
            f"{name}: read": lambda name=name: read_json(bodies[name]),
        }
    return contestants


@contextmanager
def stages_apart(folder: Path, photo: bytes) -> Iterator[tuple[list[str], Callable[[str], float]]]:
    """The names of the stages of the model in ``folder``, and what runs one of them, in seconds."""
    spawn = multiprocessing.get_context("spawn")
    mine, its = spawn.Pipe()
    process = spawn.Process(target=_run_stages, args=(its, folder, photo), daemon=True)
    before = dict(os.environ)
    os.environ |= threading_as_ours()  # read once, when torch is loaded
    try:
        process.start()
    finally:
        for name in threading_as_ours():
            os.environ.pop(name)
        os.environ |= before
    its.close()

    def run(name: str) -> float:
        mine.send(name)
        seconds: float = mine.recv()
        return seconds

    try:
        yield mine.recv(), run
    finally:
        mine.close()
        process.join(10)
        process.kill()


def _run_stages(connection: Connection, folder: Path, photo: bytes) -> None:
    """Runs what it is asked for until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    runs = stages(load(folder), photo)
    try:
        connection.send(list(runs))
        while True:
            run = runs[connection.recv()]
            began = time.perf_counter()
            for _ in range(REPEATS):
                run()
            connection.send((time.perf_counter() - began) / REPEATS)
    except (EOFError, OSError):
        return
