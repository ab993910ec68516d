"""CHIP for a loaded model: photos go through it behind gates, one after the other, and leave normal equations.

What a photo leaves is its pooled activations and probabilities and a sum of fixed size, so that memory is bounded; all
that is kept between photos is written to a checkpoint now and then, from which the same call goes on to the same
result, bit for bit.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from showcause.channels import LayerWeights
from showcause.evaluation.report import without_nan
from showcause.model import Model
from showcause.nets.base import Tape
from showcause.progress import told
from showcause.train.chip import Equations, Floats, random_gates, sparse_weights
from showcause.train.gated import Gated
from showcause.train.labelled_photos import Photo

GATES_PER_CHANNEL, MOST_GATES = 4, 1024  # the default
HELD_OUT = 5  # one gate is held out for so many that are fitted
KEEP_SECONDS, KEEP_SHARE = 30.0, 0.05  # between two checkpoints, at least; of the time that they may take
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """gates: of each layer; 0 means four a channel, at most 1024. sigma2: of the proximity; 0 means the number of
    channels. penalty: lambda, as a share of max |b_c| (``relative``) or as it is. images: of each class, at most.
    """

    images: int = 24
    gates: int = 0
    penalty: float = 0.01
    relative: bool = True
    sigma2: float = 0.0
    seed: int = 0

    def gates_of(self, channels: int) -> int:
        return self.gates or min(GATES_PER_CHANNEL * channels, MOST_GATES)


@dataclass(frozen=True)
class Fit:
    """One class's weights at one layer. r_squared: of the probabilities behind gates that the linear model explains, on
    held-out photos behind held-out gates; r_squared_fitted: on those that it was fitted to. NaN where they hardly vary.
    """

    label: str
    nonzero: int
    r_squared: float
    r_squared_fitted: float
    kkt: float
    steps: int
    penalty: float


@dataclass(frozen=True)
class DistilledLayer:
    """One layer's weights, and how well each class's fit."""

    weights: LayerWeights
    fits: tuple[Fit, ...]
    way: str  # of ``Gated``
    gates: int


class CheckpointRefused(Exception):
    """A checkpoint of another call, or none at all; the message says which file, and what differs or is wrong."""


@dataclass(frozen=True)
class _Side:
    """One layer's gates and equations: of the photos that are fitted, or of those held out."""

    gated: Gated
    gates: Tensor
    equations: Equations


def distill(
    model: Model,
    layers: Sequence[str],
    classes: Sequence[int],
    photos: tuple[Sequence[Photo], Sequence[Photo]],
    settings: Settings,
    checkpoint: Path,
    say: Say,
) -> list[DistilledLayer]:
    """Weights for the classes at each of the layers.

    photos: those that are fitted, and those held out. Raises CheckpointRefused, NotGated, or DataRefused for a photo.
    """
    sides = _sides(model, layers, classes, photos, settings)
    work = [(side, photo) for side, some in enumerate(photos) for photo in some]
    identity = _identity(model, layers, classes, work, settings)
    done = _resume(checkpoint, identity, sides)
    if done:
        say(f"going on after {done} of {len(work)} photos, from {checkpoint}")
    kept, wait = time.monotonic(), KEEP_SECONDS
    for number, (side, photo) in enumerate(_each(work[done:], len(work), "photos", say, done), start=done + 1):
        _take(model, photo, sides[side], classes)
        if time.monotonic() - kept > wait or number == len(work):
            began = time.monotonic()
            _keep(checkpoint, identity, sides, number)
            kept = time.monotonic()
            wait = max(KEEP_SECONDS, (kept - began) / KEEP_SHARE)
    return [
        _fitted(model, layer, classes, sides[0][layer], sides[1][layer].equations, settings, say) for layer in layers
    ]


def _sides(
    model: Model,
    layers: Sequence[str],
    classes: Sequence[int],
    photos: tuple[Sequence[Photo], Sequence[Photo]],
    settings: Settings,
) -> tuple[dict[str, _Side], dict[str, _Side]]:
    """Of the photos that are fitted and of those held out, by layer."""
    probe = torch.from_numpy(photos[0][0].read(model.manifest.input)).to(model.device)
    sides: tuple[dict[str, _Side], dict[str, _Side]] = {}, {}
    for layer in layers:
        gated, channels = Gated(model, layer, probe), model.layers[layer][0]
        count = settings.gates_of(channels)
        for side, number in enumerate((count, max(2, count // HELD_OUT))):
            # The name is part of the seed: a layer's gates do not depend on what else is distilled.
            gates = random_gates(number, channels, (settings.seed, side, *layer.encode()))
            equations = Equations(gates, len(classes), settings.sigma2 or None)
            sides[side][layer] = _Side(gated, torch.from_numpy(gates).float().to(model.device), equations)
    return sides


def _take(model: Model, photo: Photo, sides: Mapping[str, _Side], classes: Sequence[int]) -> None:
    """One photo into the equations of every layer."""
    rgb = torch.from_numpy(photo.read(model.manifest.input)).to(model.device)
    forward = model.net.run(rgb[None], Tape(frozenset(sides)))
    f = probabilities(forward.logits, model)[0, classes]
    for layer, side in sides.items():
        pooled = forward.activations[layer][0].double().mean((1, 2)).cpu().numpy()
        g = probabilities(side.gated.logits(rgb, side.gates), model)[:, classes]
        side.equations.add(pooled, f, g)


def probabilities(logits: Tensor, model: Model) -> Floats:
    """The model's probabilities in float64: (N, classes)."""
    exact = logits.double()
    found: Floats = (exact.sigmoid() if model.manifest.probability == "sigmoid" else exact.softmax(1)).cpu().numpy()
    return found


def _fitted(
    model: Model,
    layer: str,
    classes: Sequence[int],
    side: _Side,
    held: Equations,
    settings: Settings,
    say: Say,
) -> DistilledLayer:
    """The regressions of one layer."""
    weights, fits, equations = np.zeros((len(classes), side.gates.shape[1])), [], side.equations
    for row, index in enumerate(_each(classes, len(classes), f"{layer}, classes fitted", say)):
        gram, rhs = equations.gram(row), equations.rhs[row]
        penalty = settings.penalty * (float(np.abs(rhs).max()) if settings.relative else 1.0)
        found = sparse_weights(gram, rhs, penalty)
        weights[row] = found.weights
        fits.append(
            Fit(
                label=model.manifest.labels[index],
                nonzero=int(np.count_nonzero(found.weights)),
                r_squared=held.r_squared(row, found.weights),
                r_squared_fitted=equations.r_squared(row, found.weights, gram),
                kkt=found.kkt,
                steps=found.steps,
                penalty=penalty,
            )
        )
    about = {"settings": asdict(settings), "fits": without_nan([asdict(fit) for fit in fits])}
    layer_weights = LayerWeights(layer, tuple(classes), weights.astype(np.float32), about)
    return DistilledLayer(layer_weights, tuple(fits), side.gated.way, len(side.gates))


def _identity(
    model: Model,
    layers: Sequence[str],
    classes: Sequence[int],
    work: Sequence[tuple[int, Photo]],
    settings: Settings,
) -> dict[str, Any]:
    """What a checkpoint must have been made with for its equations to be ours, as JSON gives it back."""
    manifest = model.manifest
    return {
        "weights": manifest.weights_sha256,
        "network": [manifest.network, dict(manifest.network_options)],
        "probability": manifest.probability,
        "input": asdict(manifest.input),
        "layers": list(layers),
        "classes": list(classes),
        # By content, not by name; a digest costs nothing beside the passes behind gates.
        "photos": [[side, photo.sha256(), photo.region and list(astuple(photo.region))] for side, photo in work],
        # The penalty comes after the photos: another may be tried on the same equations.
        "settings": {key: value for key, value in asdict(settings).items() if key not in ("penalty", "relative")},
    }


def _resume(path: Path, identity: Mapping[str, Any], sides: Sequence[Mapping[str, _Side]]) -> int:
    """Fills the equations from a checkpoint; how many photos are in them, 0 where there is none."""
    if not path.exists():
        return 0
    try:
        with open(path, "rb") as opened, np.load(opened) as file:  # numpy alone leaves it open where it refuses it
            arrays = dict(file)
        found, done = json.loads(str(arrays["identity"])), int(arrays["done"])
        differing = [key for key, value in identity.items() if found.get(key) != value]
    except Exception as error:  # numpy, zipfile, zlib and json each raise their own
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointRefused(f"{path} is no checkpoint ({reason}); remove it, or choose another --out") from error
    if differing:
        raise CheckpointRefused(
            f"{path} is of a call with other {', '.join(differing)}; remove it, or choose another --out"
        )
    for number, side in enumerate(sides):
        for layer, one in side.items():
            prefix = f"{number}/{layer}/"
            one.equations.restore({key: arrays[prefix + key] for key in one.equations.state()})
    return done


def _keep(path: Path, identity: Mapping[str, Any], sides: Sequence[Mapping[str, _Side]], done: int) -> None:
    """Writes a checkpoint; an interruption leaves the old one or the new one."""
    arrays: dict[str, Any] = {"identity": np.array(json.dumps(identity)), "done": np.array(done)}
    for number, side in enumerate(sides):
        for layer, one in side.items():
            arrays |= {f"{number}/{layer}/{key}": value for key, value in one.equations.state().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".new"), "wb") as file:
        np.savez(file, **arrays)
    os.replace(path.with_suffix(".new"), path)


def _each(items: Sequence[T], total: int, title: str, say: Say, before: int = 0) -> Iterator[T]:
    """The same items, with progress."""
    for (item,) in told(([item] for item in items), total, title, say, before):
        yield item
