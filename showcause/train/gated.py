"""A network behind gates on one layer's channels (Cui, Wang, Wang: arXiv 1902.02497, section III-B)."""

import torch
from torch import Tensor

from showcause.model import Model
from showcause.nets.base import Edit, Tape

MOST_FLOATS = 1 << 23  # of the largest activation of a batch of gates: 32 MiB
MOST_BATCH = 256
SAME = 1e-4  # of the largest logit: what float32 may differ by


class NotGated(Exception):
    """A layer whose channels cannot be switched one by one; the message says why."""


class Gated:
    """The logits of one photo behind gates on ``layer``, by the cheapest way that is right for the network.

    "closed form": the layer is pooled into a linear head, and no pass is needed. "from the layer on": the photo runs
    alone up to the layer, whose output is multiplied with all gates of a batch; what follows runs on the batch, and
    branches around the layer broadcast. "from the input on": the photo is repeated from the start, for networks that
    cannot mix both (torch.cat does not broadcast).
    """

    def __init__(self, model: Model, layer: str, rgb: Tensor):
        """rgb: (3, H, W), a photo to try the ways on. Raises NotGated."""
        self.net, self.layer = model.net, layer
        names = list(model.layers)
        sizes = [c * h * w for c, h, w in (model.layers[name] for name in names[names.index(layer) :])]
        self.batch = max(1, min(MOST_BATCH, MOST_FLOATS // max(sizes)))
        self.head = model.pooled if model.pooled is not None and model.pooled.layer == layer else None
        gates = torch.ones(2, model.layers[layer][0], device=rgb.device)
        gates[1, ::2] = 0
        slow = self._passes(rgb.expand(2, *rgb.shape), gates)
        self.way = "from the input on"
        if self.head is not None:
            self.way = "closed form"
        else:
            try:
                quick = self._passes(rgb[None], gates)
            except (RuntimeError, ValueError):
                return
            if quick.shape == slow.shape and bool((quick - slow).abs().max() <= SAME * slow.abs().max()):
                self.way = "from the layer on"

    def logits(self, rgb: Tensor, gates: Tensor) -> Tensor:
        """rgb: (3, H, W); gates: (N, K) of 0 and 1 -> (N, classes)."""
        if self.head is not None:
            forward = self.net.run(rgb[None], Tape(frozenset([self.layer])))
            sums = forward.activations[self.layer].sum((2, 3))  # [1,K]
            return (gates * sums) @ self.head.weights.T + self.head.bias
        found = []
        for some in gates.split(self.batch):
            photos = rgb[None] if self.way == "from the layer on" else rgb.expand(len(some), *rgb.shape)
            found.append(self._passes(photos, some))
        return torch.cat(found)

    def _passes(self, photos: Tensor, gates: Tensor) -> Tensor:
        """photos: (1, 3, H, W), or as many as there are gates."""
        runs = 0

        def switch(output: Tensor) -> Tensor:
            nonlocal runs
            runs += 1
            return output * gates[:, :, None, None]

        edit: Edit = switch
        logits = self.net.run(photos, Tape(edits={self.layer: edit})).logits
        if runs > 1:
            raise NotGated(f"{self.layer} runs {runs} times in one pass: its channels cannot be switched one by one")
        return logits
