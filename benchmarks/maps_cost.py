"""What maps cost beside a prediction of the same network, and beside captum's and pytorch-grad-cam's."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from captum.attr import LayerGradCam
from networks import PEERS
from torch import Tensor
from turns import Times, jpeg, ratio, take_turns

from showcause.client.calls import explain_request, predict_request
from showcause.evaluation.maps import settled
from showcause.methods import METHODS, Ask
from showcause.model import load
from showcause.nets import build
from showcause.nets.base import layer_shapes
from showcause.nets.pooled import last_grid, pooled_head
from showcause.reply import ClassTarget
from showcause.worker import Call, explain

Rows = list[tuple[str, dict[str, float]]]
FIVE = ("cam", "grad_cam", "gradient", "input_x_gradient", "guided_grad_cam")
PACKAGES = ("grad-cam==1.5.7", "opencv-python-headless==5.0.0.93", "tqdm==4.70.1")


def maps_cost(folder: Path, most: int, rounds: int) -> tuple[Rows, Times]:
    """From tensors, of the model in ``folder`` and of two networks with random weights (cost does not depend on them);
    and five methods in one request to the worker, from JPEG bytes, beside five requests. most: the larger batch."""
    model = load(folder)
    torch.manual_seed(1)
    x = torch.rand(most, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    names = tuple(name for name in ("cam", "chip", "refined_chip", "grad_cam") if name in model.manifest.methods)
    subjects: dict[str, tuple[Any, tuple[str, ...]]] = {
        model.manifest.name: (model, names),
        "ResNet-18, pooled head": (bare("plain_resnet18"), ("cam", "grad_cam")),
        "AlexNet, full head": (bare("plain_alexnet"), ("grad_cam",)),
    }
    contestants: dict[str, Callable[[], object]] = {}
    wanted: list[tuple[str, str, str]] = []
    for title, (subject, methods) in subjects.items():
        for size in (1, most):
            base = f"{title}: predict, batch {size}"
            contestants[base] = lambda s=subject, n=size: s.net.run(x[:n])
            others = {name: (lambda s=subject, n=size, m=name: ours(s, x[:n], m)) for name in methods}
            others |= {
                "captum Grad-CAM": lambda s=subject, n=size: captum(s, x[:n]),
                "pytorch-grad-cam Grad-CAM": lambda s=subject, n=size: peer(s, x[:n]),
            }
            for name, run in others.items():
                contestants[f"{title}: {name}, batch {size}"] = run
                wanted.append((f"{name} / predict, {title}, batch {size}", f"{title}: {name}, batch {size}", base))
    photo = jpeg()
    own = {name: Call("explain", explain_request(photo, methods=name).SerializeToString()) for name in FIVE}
    together = Call("explain", explain_request(photo, methods=FIVE).SerializeToString())
    alone = Call("predict", predict_request(photo).SerializeToString())
    contestants |= {
        "worker: predict": lambda: explain(model, [alone]),
        "worker: five methods, one request": lambda: explain(model, [together]),
        "worker: five requests": lambda: [explain(model, [one]) for one in own.values()],
    }
    wanted.append(
        ("five methods in one request / five requests", "worker: five methods, one request", "worker: five requests")
    )
    times = take_turns(contestants, rounds, "maps")
    return [(name, ratio(times, one, other)) for name, one, other in wanted], times


def bare(network: str) -> SimpleNamespace:
    """A network of 1,000 classes with what the methods ask of a model."""
    net = build(network, 1000, {}).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    empty = torch.zeros(1, 3, 224, 224)
    layers = layer_shapes(net, empty)
    last = last_grid(net, layers)
    return SimpleNamespace(net=net, layers=layers, last_grid=last, pooled=pooled_head(net, last, empty), chip={})


def ours(model: Any, x: Tensor, name: str) -> None:
    method = settled(model, [name])[name]
    forward = model.net.run(x, METHODS[name].needs(method, model))
    targets = forward.logits.argmax(1).tolist()
    METHODS[name].explain(forward, [Ask(row, ClassTarget(k, ""), method) for row, k in enumerate(targets)], model)


def layer_of(model: Any) -> torch.nn.Module:
    found: torch.nn.Module = dict(model.net.named_modules())[model.last_grid]
    return found


def captum(model: Any, x: Tensor) -> None:
    """A prediction and its map, as its users do it: captum runs a pass of its own."""
    inputs = (x - model.net.mean) / model.net.std
    with torch.no_grad():
        targets = model.net.module(inputs).argmax(1)
    LayerGradCam(model.net.module, layer_of(model)).attribute(inputs.requires_grad_(), targets, relu_attributions=True)


def peer(model: Any, x: Tensor) -> None:
    """The same with pytorch-grad-cam (MIT), which finds the strongest class in its own pass. It is fetched into
    ``.peers``; torchvision, which it imports for other purposes, is stood in for."""
    if not (PEERS / "pytorch_grad_cam").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PEERS)]
        subprocess.run([*command, *PACKAGES], check=True)
    if str(PEERS) not in sys.path:
        sys.path.insert(0, str(PEERS))
    for name in (
        "torchvision",
        "torchvision.ops",
        "torchvision.transforms",
        "torchvision.transforms.functional",
        "ttach",
    ):
        sys.modules.setdefault(name, MagicMock())
    package = importlib.import_module("pytorch_grad_cam")
    with package.GradCAM(model.net.module, [layer_of(model)]) as cam:
        cam(input_tensor=((x - model.net.mean) / model.net.std).requires_grad_(), targets=None)
