"""What a request costs a worker beside a prediction, without service: by the input's side, the photo's size, the number
of classes and targets, and the methods. One photo at a time, in the bench's own process."""

from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image

from benchmarks.networks import bcos
from benchmarks.turns import Times, jpeg, ratio, take_turns
from showcause.client.calls import explain_request, predict_request
from showcause.image import InputSpec, decode_enough, frame_of, share_seen, to_input
from showcause.model import load
from showcause.nets.base import Tape
from showcause.nets.bcos_resnet import BcosResNet
from showcause.worker import Call, explain

Rows = list[tuple[str, dict[str, float]]]
Contestants = dict[str, Callable[[], object]]
SIDES = (64, 96, 128, 160, 192, 224, 256, 320, 384)
CLASSES = (10, 100, 1000, 10_000)
MEGAPIXELS = (0.1, 0.3, 1, 3, 6, 12)
TARGETS = (1, 2, 3, 4, 5)
SIDE = 224


def by_side(rounds: int) -> tuple[Rows, Times]:
    """B-cos ResNet-18, from tensors: the input's side in pixels."""
    net = _resnet(1000)
    contestants: Contestants = {}
    for side in SIDES:
        x = _tensors(side)
        contestants[f"ResNet-18 predict, {side} px"] = lambda x=x: net.run(x)
        contestants[f"ResNet-18 explain, {side} px"] = lambda x=x: _explain(net, x)
    times = take_turns(contestants, rounds, "input side")
    base = f"ResNet-18 predict, {SIDE} px"
    return _rows(times, [(name, base) for name in contestants if name != base]), times


def by_classes(rounds: int) -> tuple[Rows, Times]:
    """The same at 224 px: the number of classes, which the head has a filter each for."""
    x, contestants = _tensors(SIDE), Contestants()
    for classes in CLASSES:
        net = _resnet(classes)
        contestants[f"ResNet-18 predict, {classes} classes"] = lambda net=net: net.run(x)
        contestants[f"ResNet-18 explain, {classes} classes"] = lambda net=net: _explain(net, x)
    times = take_turns(contestants, rounds, "classes")
    base = f"ResNet-18 predict, {CLASSES[0]} classes"
    return _rows(times, [(name, base) for name in contestants if name != base]), times


def by_photo(folder: Path, rounds: int) -> tuple[Rows, Times]:
    """A model from JPEG: the photo's size in megapixels; and decoding alone, with what makes it the network's input, as
    large as that needs it, and whole."""
    model, contestants = load(folder), Contestants()
    for size in MEGAPIXELS:
        data = sized_jpeg(size)
        contestants |= {
            f"decode, {size:g} MP": lambda data=data: _decode(data, model.manifest.input),
            f"decode the whole, {size:g} MP": lambda data=data: _decode(data, model.manifest.input, whole=True),
            f"predict, {size:g} MP": _worker(model, "predict", predict_request(data)),
            f"explain + overlay, {size:g} MP": _worker(
                model, "explain", explain_request(data, map_dtype="float16", pictures=["overlay"])
            ),
        }
    times = take_turns(contestants, rounds, "photo size")
    base = f"predict, {MEGAPIXELS[0]:g} MP"
    return _rows(times, [(name, base) for name in contestants if name != base]), times


def by_targets(folder: Path, rounds: int) -> tuple[Rows, Times]:
    """A model from JPEG: the number of classes that are explained."""
    model, photo = load(folder), jpeg()
    base = f"{folder.name}: predict"
    contestants: Contestants = {base: _worker(model, "predict", predict_request(photo))}
    for count in TARGETS:
        request = explain_request(photo, top_k=count, map_dtype="float16")
        contestants[f"{folder.name}: explain, {count} targets"] = _worker(model, "explain", request)
    times = take_turns(contestants, rounds, "targets")
    return _rows(times, [(name, base) for name in contestants if name != base]), times


def by_methods(folders: Iterable[Path], rounds: int) -> tuple[Rows, Times]:
    """Models from JPEG: each of their methods alone, and all in one request, with float16 maps."""
    photo, contestants, wanted = jpeg(), Contestants(), []
    for folder in folders:
        model = load(folder)
        base, methods = f"{folder.name}: predict", model.manifest.methods
        contestants[base] = _worker(model, "predict", predict_request(photo))
        several = {f"all {len(methods)} methods": methods} if len(methods) > 1 else {}
        for title, names in ({name: (name,) for name in methods} | several).items():
            name = f"{folder.name}: {title}"
            contestants[name] = _worker(model, "explain", explain_request(photo, methods=names, map_dtype="float16"))
            wanted.append((name, base))
    times = take_turns(contestants, rounds, "methods")
    return _rows(times, wanted), times


def sized_jpeg(megapixels: float) -> bytes:
    """The photo of a cat, 4 : 3, repeated and not stretched: a stretched one would have little detail to decode."""
    width, height = (round((1e6 * megapixels * part) ** 0.5) for part in (4 / 3, 3 / 4))
    cat = skimage.data.chelsea()
    tiles = np.tile(cat, (-(-height // cat.shape[0]), -(-width // cat.shape[1]), 1))[:height, :width]
    buffer = BytesIO()
    Image.fromarray(tiles).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _rows(times: Times, wanted: Iterable[tuple[str, str]]) -> Rows:
    return [(f"{name} / {base}", ratio(times, name, base)) for name, base in wanted]


def _tensors(side: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)


def _resnet(classes: int) -> BcosResNet:
    torch.manual_seed(1)
    net = bcos(torch.rand(4, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last), classes)
    net.prepare()
    return net


def _explain(net: BcosResNet, x: torch.Tensor) -> None:
    """A prediction and W of its strongest class."""
    forward = net.run(x, Tape(start="input", hold=True))
    forward.pull([0], [{int(forward.evidence.argmax()): 1.0}])


def _decode(data: bytes, spec: InputSpec, whole: bool = False) -> None:
    photo, size = decode_enough(data, lambda size: 1.0 if whole else share_seen(frame_of(size, None, spec)))
    to_input(photo, frame_of(size, None, spec))


def _worker(model: object, operation: str, message: object) -> Callable[[], object]:
    call = Call(operation, message.SerializeToString())
    return lambda: explain(model, [call])
