"""A network over pictures: what the measures need of it. The only part of this room that needs torch."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from showcause.layers.interpretable import category_means
from showcause.layers.receptive_field import ReceptiveField
from showcause.nets.base import Tape
from showcause.nets.interpretable import PARTS, InterpretableCnn

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Observed:
    """Of S pictures, K filters, C classes: logits (S, C); places (S, K, 2) of the filters' peaks, in pixels of the
    frame; scores (S, K), the peaks' heights; sums (S, K) over the map; maps (S, K, n, n), the masked activations that
    the head sees, or None where they were not kept: thousands of them are gigabytes.
    """

    logits: Floats
    places: Floats
    scores: Floats
    sums: Floats
    maps: Floats | None


def of_maps(logits: Tensor, maps: Tensor, field: ReceptiveField, keep_maps: bool = False) -> Observed:
    """From one batch's masked part maps (N, K, n, n). field: of the maps' units, in pixels of the frame.

    A peak is the argmax of the map, its place the centre of that unit's receptive field, ``center + jump * index``: an
    edge coordinate, half a pixel more than one that counts pixel centres from 0.
    """
    n = maps.shape[-1]
    maps = maps.detach().float()
    scores, best = maps.flatten(2).max(2)
    places = field.center + field.jump * torch.stack([best // n, best % n], -1).double()
    return Observed(
        logits=_array(logits.float()),
        places=_array(places),
        scores=_array(scores),
        sums=_array(maps.sum((2, 3))),
        maps=_array(maps) if keep_maps else None,
    )


def observe(
    net: InterpretableCnn, batches: Iterable[NDArray[np.uint8]], field: ReceptiveField, keep_maps: bool = False
) -> Observed:
    """Runs the network over batches of pictures (N, 3, H, W), at the size of its input. field: see ``of_maps``."""
    net.eval()
    device = net.parts.conv.weight.device
    found = []
    for batch in batches:
        rgb = torch.from_numpy(batch).to(device, memory_format=torch.channels_last).float() / 255
        forward = net.run(rgb, Tape(frozenset([PARTS])))
        found.append(of_maps(forward.logits, forward.activations[PARTS], field, keep_maps))
    return joined(found)


def joined(some: list[Observed]) -> Observed:
    """One after the other; maps only if all have them."""
    if not some:
        raise ValueError("there are no pictures to observe")
    maps = [one.maps for one in some if one.maps is not None]
    return Observed(
        logits=np.concatenate([one.logits for one in some]),
        places=np.concatenate([one.places for one in some]),
        scores=np.concatenate([one.scores for one in some]),
        sums=np.concatenate([one.sums for one in some]),
        maps=np.concatenate(maps) if len(maps) == len(some) else None,
    )


def learned_categories(net: InterpretableCnn) -> NDArray[np.intp] | None:
    """The category that each filter of the top layer learned in training; None for an ordinary twin: it has none."""
    if not net.parts.masked or bool((net.parts.category < 0).all()):
        return None
    return net.parts.category.cpu().numpy()


def strongest_categories(sums: Floats, labels: NDArray[np.integer], classes: int) -> NDArray[np.intp]:
    """The same for filters that learned none: the class whose pictures activate a filter most.

    sums: (S, K). labels: (S,). Returns (K,).
    """
    tensor = torch.from_numpy(np.asarray(sums))[..., None, None]
    return category_means(tensor, torch.from_numpy(np.asarray(labels)).long(), classes).argmax(1).numpy()


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().cpu().numpy()
