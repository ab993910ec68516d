"""What the recipes of animals-parts and animals-cnn share: one training, its twin, and the figures of a card."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from showcause.model import served_precision
from showcause.nets import build
from showcause.nets.base import Net
from showcause.nets.interpretable import InterpretableCnn
from showcause.nets.ordinary import OrdinaryNet
from showcause.train.animals import Picture, category_names, predict, read_crops, read_scenes, top1
from showcause.train.part_views import VIEWS, cache
from showcause.train.parts import Recipe, fit, start
from showcause.train.report import per_class

SIZE, FILTERS = 224, 240  # pixels of the input; filters of the added layer
PLACES = 13  # side of its grid
RECIPE = Recipe(steps=1000)


def train(
    data: Path,
    features: Path,
    views: Path,
    out: Path,
    masked: bool,
    logistic: bool = False,
    network: str = "alexnet",
    kinds: Sequence[str] = VIEWS,
    steps: int | None = None,
    size: int = SIZE,
    most: int | None = None,
) -> InterpretableCnn:
    """An interpretable AlexNet on the Animal-Part pictures, or with ``masked=False`` its ordinary twin, same budget.

    features: the network's convolutions, ImageNet-trained. views: folder of the cache (4 GB), made once for all
    trainings. out: of the checkpoint. network: whose convolutions; kinds: of the views; steps: the recipe's; size: of
    the input; most: pictures of a category, the first ones.
    """
    recipe = replace(RECIPE, logistic=logistic, steps=steps or RECIPE.steps)
    names = category_names(data)
    pictures = _first(read_crops(data, "train", names), most)
    print(f"{len(pictures)} training pictures of {len(names)} categories")
    torch.manual_seed(RECIPE.seed)
    made = build(f"interpretable_{network}", len(names), {"filters": FILTERS, "masked": masked})
    if not isinstance(made, InterpretableCnn):
        raise TypeError(f"interpretable_{network} is a {type(made).__name__}")
    start(made, load_file(features), RECIPE.gain)
    net: InterpretableCnn = made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = np.array([min(picture.labels) for picture in pictures])
    fit(net, cache(net, pictures, views, size=size, views=kinds), labels, recipe, out)
    return net


def _first(pictures: list[Picture], most: int | None) -> list[Picture]:
    """Of each category."""
    seen = Counter[int]()
    chosen = []
    for picture in pictures:
        label = min(picture.labels)
        seen[label] += 1
        if most is None or seen[label] <= most:
            chosen.append(picture)
    return chosen


def as_plain(twin: InterpretableCnn, places: int = PLACES, network: str = "plain_alexnet") -> OrdinaryNet:
    """The same network as a plain one with a pooled head, which answers alike on inputs of ``places`` x ``places``
    units. Raises ValueError for a network that has masks or another head.
    """
    state = twin.state_dict()
    if twin.parts.masked or "head.last.weight" not in state or "head.inner.0.weight" in state:
        raise ValueError("only an ordinary twin with the linear head is a plain network")
    top = len(twin.features)
    moved = {
        **{key: value for key, value in state.items() if key.startswith("features.")},
        **{f"features.{top}.{key}": state[f"top.conv.{key}"] for key in ("weight", "bias")},
        **{f"features.{top + 2}.{key}": state[f"parts.conv.{key}"] for key in ("weight", "bias")},
        # The twin's head divides a sum over places by their number along one side; a mean divides by all.
        "classifier.weight": state["head.last.weight"] * places,
        "classifier.bias": state["head.last.bias"],
    }
    filters = len(twin.parts.conv.weight)
    plain = build(network, twin.classes, {"head": "pooled", "added": filters})
    plain.load_state_dict(moved)
    if not isinstance(plain, OrdinaryNet):
        raise TypeError(f"{network} is a {type(plain).__name__}")
    return plain.eval()


def as_served(net: Net, untrained: Callable[[], Net], weights: Path) -> Net:
    """Writes the weights as they are served, and reads them back: what is measured must be what is served."""
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file(served_precision(net), weights)
    served = untrained()
    served.load_state_dict(load_file(weights))
    return served.eval()


def report(net: Net, data: Path, size: int = SIZE) -> None:
    """Prints what a card quotes: top-1 on crops and on whole photos, and the test crops by category."""
    names = category_names(data)
    for split in ("val", "test"):
        pictures, scenes = read_crops(data, split, names), read_scenes(data, split, names)
        logits = predict(net, pictures, size)
        on_scenes = top1(predict(net, scenes, size), scenes)
        print(
            f"{split}: top-1 {top1(logits, pictures):.4f} of {len(pictures)} crops, "
            f"{on_scenes:.4f} of {len(scenes)} scenes"
        )
    print(per_class(logits, pictures, names))
