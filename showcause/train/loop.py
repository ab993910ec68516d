"""One training loop: seeded, with progress, resumable after every epoch, in bfloat16."""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from showcause.layers.bcos import BcosConv2d, add_inverse
from showcause.nets.bcos import BcosNet
from showcause.train.animals import Picture, Views, jittered
from showcause.train.checkpoint import keep, resume


@dataclass(frozen=True)
class Phase:
    """So many epochs at one picture size (pixels) and one exponent b of the B-cos layers."""

    size: int
    epochs: int
    b: float = 2.0


def learning_rate(progress: float, warm_up: float = 0.03) -> float:
    """Factor on the learning rates: linear warm-up, then half a cosine down to zero; ``progress`` in 0..1."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def fit(
    net: BcosNet,
    groups: list[dict[str, object]],
    pictures: list[Picture],
    phases: list[Phase],
    batch: int,
    seed: int,
    out: Path,
    measure: Callable[[nn.Module, int], str],
    compiled: bool = shutil.which("g++") is not None,
    say: Callable[[str], None] = print,
) -> None:
    """Trains ``net`` in place with one sigmoid per class (binary cross-entropy, as the B-cos papers do).

    groups: AdamW parameter groups. measure: called with the network and the picture size after each epoch; its answer
    is printed. A checkpoint in ``out`` lets the same call go on after an interruption; one of other settings is refused
    with ValueError. A C++ compiler, where there is one, makes it five times faster.
    """
    if len(pictures) < batch:
        raise ValueError(f"{len(pictures)} pictures do not fill a batch of {batch}")
    device = next(net.parameters()).device
    plan = [phase for phase in phases for _ in range(phase.epochs)]  # one entry an epoch
    steps = math.ceil(len(pictures) / batch)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    fast = torch.compile(net, dynamic=False) if compiled else net
    checkpoint = out / "checkpoint.pt"
    settings = f"{phases}, rates {base_rates}, batch {batch}, seed {seed}, {len(pictures)} pictures"
    if first := resume(checkpoint, settings, net, optimizer).get("epoch", 0):
        say(f"resuming after epoch {first} from {checkpoint}")
    for epoch in range(first, len(plan)):
        phase, began, total, seen = plan[epoch], time.monotonic(), 0.0, 0
        for layer in net.modules():
            if isinstance(layer, BcosConv2d):
                layer.b = phase.b
        generator = torch.Generator().manual_seed(seed * 1000 + epoch)
        loader = torch.utils.data.DataLoader(
            Views(pictures, phase.size, seed, epoch),
            batch,
            shuffle=True,
            generator=generator,
            num_workers=1 if device.type == "cpu" else 12,
            drop_last=True,
        )
        net.train()
        for step, (views, labels) in enumerate(loader):
            factor = learning_rate((epoch * steps + step) / (len(plan) * steps))
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * factor
            rgb = jittered(views.float() / 255, generator)
            x = add_inverse(rgb.to(device)).contiguous(memory_format=torch.channels_last)
            wanted: Tensor = F.one_hot(labels, net.classes).float().to(device)
            with torch.autocast(device.type, torch.bfloat16):
                logits = fast(x)
            loss = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum") / len(labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total, seen = total + loss.item() * len(labels), seen + len(labels)
            if step % 50 == 49:
                rate = seen / (time.monotonic() - began)
                say(
                    f"  epoch {epoch + 1}/{len(plan)} at {phase.size} px, {seen} of {len(pictures)}, "
                    f"loss {total / seen:.3f}, {rate:.0f} pictures/s"
                )
        keep(checkpoint, settings, net, optimizer, epoch=epoch + 1)
        say(
            f"epoch {epoch + 1}/{len(plan)}: loss {total / seen:.3f}, {measure(net, phase.size)}, "
            f"{time.monotonic() - began:.0f} s"
        )
