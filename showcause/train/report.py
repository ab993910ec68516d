"""The figures that a model card quotes, and the files of a model folder."""

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from showcause.manifest import sha256_of
from showcause.methods.linear_map import linear_map
from showcause.nets.base import Tape
from showcause.nets.bcos import BcosNet
from showcause.train.animals import Picture, squash


def per_class(logits: Tensor, pictures: list[Picture], names: list[str]) -> str:
    """A Markdown table: of each category's pictures, the share that is recognised, and what the rest is taken for."""
    guesses = logits.argmax(1).tolist()
    lines = ["| category | pictures | recognised | most often taken for |", "|---|---|---|---|"]
    for index, name in enumerate(names):
        mine = [guess for guess, picture in zip(guesses, pictures, strict=True) if index in picture.labels]
        wrong = Counter(names[guess] for guess in mine if guess != index).most_common(2)
        taken = ", ".join(f"{other} ({count})" for other, count in wrong) or "-"
        lines.append(f"| {name} | {len(mine)} | {mine.count(index) / len(mine):.0%} | {taken} |")
    return "\n".join(lines)


def positive_share_in_box(net: BcosNet, pictures: list[Picture], boxes: list[tuple[float, ...]], size: int) -> Tensor:
    """For each whole photo: the share of the true class's positive contributions that falls into the object's box.

    boxes: x0, y0, x1, y1 as shares of the photo's width and height. Without knowledge of the object the share would be
    about the box's area.
    """
    shares = []
    for start in range(0, len(pictures), 32):
        some = pictures[start : start + 32]
        rgb = torch.from_numpy(np.stack([squash(picture, size) for picture in some])).float() / 255
        forward = net.run(rgb, Tape(start="input", hold=True))
        rows = range(len(some))
        weights = linear_map(forward, forward.evidence[rows, [min(picture.labels) for picture in some]], rows)
        positive = (weights * forward.x.detach()).sum(1).clamp_min(0)
        for contribution, box in zip(positive, boxes[start : start + 32], strict=True):
            x0, y0, x1, y1 = (round(edge * size) for edge in box)
            shares.append(contribution[y0:y1, x0:x1].sum() / contribution.sum())
    return torch.stack(shares)


def install(weights: Path, size: int, folder: Path) -> None:
    """Puts a weights file into a model folder, and writes what follows from it into model.toml."""
    shutil.copyfile(weights, folder / "weights.safetensors")
    pin(size, folder)


def pin(size: int, folder: Path) -> None:
    """Writes the digest of a folder's weights and the input size into its model.toml."""
    manifest, digest = folder / "model.toml", sha256_of(folder / "weights.safetensors")
    text = re.sub(r'(?m)^weights_sha256 = ".*"', f'weights_sha256 = "{digest}"', manifest.read_text())
    manifest.write_text(re.sub(r"(?m)^(width|height) = \d+", rf"\1 = {size}", text))
