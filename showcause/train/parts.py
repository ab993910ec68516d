"""Training interpretable CNNs and their ordinary twins: the upper layers, over cached lower activations."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from showcause.layers import interpretable as layer
from showcause.layers.interpretable import InterpretableConv2d
from showcause.nets.interpretable import InterpretableCnn
from showcause.train.checkpoint import keep, resume
from showcause.train.loop import learning_rate
from showcause.train.part_views import Cache

KEEP_EVERY = 500  # steps from checkpoint to checkpoint
NEGATIVE = -1  # label of a picture of no category that the network knows


@dataclass(frozen=True)
class Recipe:
    """What a training is made of; the defaults are those of the networks that Showcause reports.

    strength: of the filter losses against the classification loss. same_point, apart: of equivariance and overlap
    within them ("tracked"). groups: of filters that should look at different places. gain: of the part filters' random
    start; small, so that what is random in it does not blur what is learned.
    """

    steps: int
    batch: int = 48
    rate_top: float = 2e-4
    rate_parts: float = 1e-3
    rate_head: float = 3e-3
    strength: float = 0.2
    same_point: float = 10.0
    apart: float = 5.0
    groups: int = 4
    gain: float = 0.2
    logistic: bool = False
    seed: int = 0


@torch.no_grad()
def start(net: InterpretableCnn, features: Mapping[str, Tensor], gain: float) -> None:
    """Fills the lower layers and the top convolution from ImageNet's, and ``parts`` with small random filters.

    features: tensors ``features.N.weight|bias``, N as in the network; the top convolution's N follows the last.
    """
    lower = net.features.state_dict()
    net.features.load_state_dict({key: features[f"features.{key}"].float() for key in lower})
    top = len(net.features)
    net.top.conv.load_state_dict({key: features[f"features.{top}.{key}"].float() for key in ("weight", "bias")})
    nn.init.kaiming_normal_(net.parts.conv.weight).mul_(gain)
    for key, value in net.named_parameters():
        if key in ("parts.conv.bias", "head.last.bias"):
            value.zero_()


def fit(
    net: InterpretableCnn,
    cache: Cache,
    labels: NDArray[np.int64],
    recipe: Recipe,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Trains all above ``net.lower`` in place, in bfloat16.

    labels: (pictures,) class indices, ``NEGATIVE`` for pictures of none; with one class, every batch is half and half.
    out: where a checkpoint lets the same call go on after an interruption. A twin (``masked=False``) gets the same
    pictures, steps and rates, and the classification loss alone.
    """
    net.train().requires_grad_(True)
    net.features.requires_grad_(False)
    groups = [
        {"params": net.top.parameters(), "lr": recipe.rate_top},
        {"params": net.parts.parameters(), "lr": recipe.rate_parts},
        {"params": net.head.parameters(), "lr": recipe.rate_head},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    base = [group["lr"] for group in optimizer.param_groups]
    kind = net.parts.setting if net.parts.masked else "the twin"
    settings, path = f"{recipe}, {kind}, views {cache.digest}", out and out / "checkpoint.pt"
    saved = resume(path, settings, net, optimizer) if path else {}
    learning = [conv for conv in (net.top, net.parts) if conv.masked]
    if saved:
        for conv, seen in zip(learning, saved["seen"], strict=True):
            conv.seen = seen
        say(f"resuming after step {saved['step']} from {path}")
    began, total = time.monotonic(), 0.0
    for step in range(saved.get("step", 0), recipe.steps):
        for group, rate in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = rate * learning_rate(step / recipe.steps)
        loss = _loss(net, cache, labels, recipe, np.random.default_rng((recipe.seed, step)), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if path and step % KEEP_EVERY == KEEP_EVERY - 1:
            keep(path, settings, net, optimizer, step=step + 1, seen=[conv.seen for conv in learning])
        if step % 100 == 99 or step + 1 == recipe.steps:
            mean, seconds = total / (step % 100 + 1), time.monotonic() - began
            say(f"  step {step + 1}/{recipe.steps}, loss {mean:.3f}, {seconds:.0f} s")
            total = 0.0
    net.eval().requires_grad_(False)


def _loss(
    net: InterpretableCnn, cache: Cache, labels: NDArray[np.int64], recipe: Recipe, rng: np.random.Generator, step: int
) -> Tensor:
    """Of one batch: the object view and another one of the same pictures."""
    pictures = _draw(labels, recipe.batch, rng)
    first, second = 0, int(rng.integers(1, len(cache.features)))
    device = net.bias.device
    x = torch.cat([cache.batch(first, pictures), cache.batch(second, pictures)])
    x = x.to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        top = F.relu(net.top.conv(x))
        y = net.parts.conv(net.top.focus(top))
    y = y.float()
    maps = F.relu(y)
    logits = net.head(net.parts.focus(maps)) + net.bias
    label = torch.from_numpy(labels[pictures]).repeat(2).to(device)
    loss = classification_loss(logits, label, recipe.logistic)
    if not net.parts.masked or not recipe.strength:
        return loss
    settled = net.parts.setting == "tracked" and step > recipe.steps // 5
    if not settled:
        net.parts.assign(maps, label)
        if net.parts.setting == "tracked":
            net.parts.category = layer.balanced(net.parts.seen)
    if net.parts.setting == "tracked":
        halves = y.split(len(pictures))
        return loss + recipe.strength * _tracked(net, cache, recipe, halves, (first, second), pictures, label)
    filter_loss = _published(net.parts, maps, label, loss)
    if net.top.masked:
        net.top.assign(top.float(), label)
        filter_loss = filter_loss + _published(net.top, top, label, loss)
    return loss + recipe.strength / (1 + 9 * step / recipe.steps) * filter_loss  # as 1 / epoch over ten epochs


def classification_loss(logits: Tensor, label: Tensor, logistic: bool) -> Tensor:
    """One logit: logistic. Several: softmax, or with ``logistic`` a logistic loss for each class, summed."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], (label >= 0).float())
    if logistic:
        wanted = F.one_hot(label, logits.shape[1]).float()
        return F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / len(label)
    return F.cross_entropy(logits, label)


def _draw(labels: NDArray[np.int64], batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pictures of a batch: every category alike, and half of none where there are such."""
    negative = np.flatnonzero(labels == NEGATIVE)
    count = batch // 2 if len(negative) else 0
    present = np.unique(labels[labels != NEGATIVE])
    chosen = [rng.choice(np.flatnonzero(labels == c)) for c in rng.permutation(np.resize(present, batch - count))]
    return np.concatenate([np.array(chosen, np.int64), rng.choice(negative, count, replace=False)]).astype(np.int64)


def _tracked(
    net: InterpretableCnn,
    cache: Cache,
    recipe: Recipe,
    halves: tuple[Tensor, ...],
    views: tuple[int, int],
    pictures: NDArray[np.int64],
    label: Tensor,
) -> Tensor:
    """The three losses of our own setting; halves: the two views' maps before the ReLU, (N, K, n, n) each."""
    y = torch.cat(halves)
    n, category = y.shape[-1], net.parts.category
    loss = layer.peak_loss(y, label[:, None] == category)
    shown = label[: len(pictures)] >= 0
    own = torch.stack([(category == c).nonzero()[:, 0] for c in range(net.classes)])[label[: len(pictures)][shown]]
    rows = shown.nonzero()
    mine = [half[rows, own] for half in halves]  # [P,m,n,n]: of each picture, the maps of its category's filters
    known = pictures[shown.cpu().numpy()]
    points = [cache.in_picture(layer.soft_places(maps), view, known, n) for maps, view in zip(mine, views, strict=True)]
    loss = loss + recipe.same_point * (points[0] - points[1]).abs().mean()
    if recipe.apart and recipe.groups > 1:
        loss = loss + recipe.apart * layer.overlap_loss(torch.cat(mine), recipe.groups)
    return loss


def _published(conv: InterpretableConv2d, maps: Tensor, label: Tensor, classification: Tensor) -> Tensor:
    """A stand-in for the paper's filter loss, or the released code's, with its gradient in the maps' places.

    Its size follows the classification loss's gradient in the same maps: at their printed scale the losses are tens of
    thousands of times weaker or stronger, by network and by layer. (The paper lets lambda follow the activations.)
    """
    held = maps.detach().float().requires_grad_()
    if conv.setting == "paper":
        (wanted,) = torch.autograd.grad(layer.mutual_information_loss(held).sum(), held)
    else:
        with torch.no_grad():
            steepness = conv.steepness(maps.shape[-1])
            wanted = layer.released_gradient(held, label[:, None] == conv.category, steepness)
    (own,) = torch.autograd.grad(classification, maps, retain_graph=True)
    scale = own.float().abs().mean() / wanted.abs().mean().clamp_min(1e-30)
    return (scale * wanted * maps).sum()
