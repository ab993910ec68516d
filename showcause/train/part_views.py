"""Several views of every training picture, already taken through a network's lower layers, which stay as they are.

On a CPU this makes a network's upper layers cheap to train, and many of them from one cache. Each view's window is kept
beside it, because a filter should find the same point of the object in two views.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from showcause.nets.interpretable import InterpretableCnn
from showcause.train.animals import Picture, to_array

VIEWS = ("object", "moved", "moved", "moved", "whole")
BATCH = 32


@dataclass(frozen=True)
class Window:
    """What a view shows: a rectangle in pixels of the stored picture, and whether left and right are exchanged."""

    x0: float
    y0: float
    x1: float
    y1: float
    flipped: bool = False


def window(picture: Picture, kind: str, size: tuple[int, int], rng: np.random.Generator) -> Window:
    """A view's window; size: (width, height) of the stored picture.

    "object" is the box itself; "moved" shifts it by up to a fifth and scales it by 0.8 to 1.5, and flips every other
    one; "whole" is the whole stored picture, flipped or not.
    """
    flipped = kind != "object" and bool(rng.random() < 0.5)
    if kind == "whole":
        return Window(0.0, 0.0, float(size[0]), float(size[1]), flipped)
    x0, y0, x1, y1 = picture.box
    if kind == "moved":
        scale = float(np.exp(rng.uniform(np.log(0.8), np.log(1.5))))
        width, height = x1 - x0, y1 - y0
        x, y = (x0 + x1) / 2 + rng.uniform(-0.2, 0.2) * width, (y0 + y1) / 2 + rng.uniform(-0.2, 0.2) * height
        x0, x1 = max(0.0, x - scale * width / 2), min(float(size[0]), x + scale * width / 2)
        y0, y1 = max(0.0, y - scale * height / 2), min(float(size[1]), y + scale * height / 2)
    return Window(x0, y0, max(x1, x0 + 8), max(y1, y0 + 8), flipped)


def view(image: Image.Image, seen: Window, size: int) -> NDArray[np.uint8]:
    """The window at ``size`` x ``size``: (3, size, size)."""
    box = (seen.x0, seen.y0, min(seen.x1, image.width), min(seen.y1, image.height))
    array = to_array(image.resize((size, size), Image.Resampling.BILINEAR, box))
    return array[:, :, ::-1].copy() if seen.flipped else array


@dataclass(frozen=True)
class Cache:
    """features: (views, pictures, C, n, n) float16 on disk. windows: (views, pictures, 5): x0, y0, x1, y1, flipped.
    digest: SHA-256 of what they were made from.
    """

    features: NDArray[np.float16]
    windows: NDArray[np.float32]
    digest: str = ""

    def batch(self, view: int, pictures: NDArray[np.int64]) -> Tensor:
        """Float32 features of one view: (N, C, n, n)."""
        return torch.from_numpy(self.features[view, pictures].astype(np.float32))

    def in_picture(self, places: Tensor, view: int, pictures: NDArray[np.int64], n: int) -> Tensor:
        """Places on a view's grid, as shares of the object view's width and height: (N, K, 2), row and column.

        So the same point of the object has the same numbers in every view, but for the difference between a place's
        share of the grid and its receptive field's centre: at most 4.5 px of 224 for AlexNet, 1.7 on average.
        """
        x0, y0, x1, y1, flipped = torch.from_numpy(self.windows[view, pictures]).T[:, :, None]
        left, top, right, bottom, _ = torch.from_numpy(self.windows[0, pictures]).T[:, :, None]
        row, column = ((places + 0.5) / n).unbind(-1)
        column = torch.where(flipped > 0, 1 - column, column)
        y, x = y0 + row * (y1 - y0), x0 + column * (x1 - x0)
        return torch.stack([(y - top) / (bottom - top), (x - left) / (right - left)], -1)


@torch.no_grad()
def cache(
    net: InterpretableCnn,
    pictures: Sequence[Picture],
    folder: Path,
    seed: int = 0,
    size: int = 224,
    views: Sequence[str] = VIEWS,
    say: Callable[[str], None] = print,
) -> Cache:
    """The views of ``pictures`` through ``net.lower``, made once in ``folder`` and read from there afterwards.

    About 87 KB a view for AlexNet. A folder that was made from other layers, pictures, boxes or settings is made anew.
    """
    weights = hashlib.sha256()
    for key, value in net.features.state_dict().items():
        weights.update(key.encode() + value.cpu().numpy().tobytes())
    shown = [(picture.path.name, *picture.box) for picture in pictures]
    settings = json.dumps([seed, size, list(views), weights.hexdigest(), shown])
    digest = hashlib.sha256(settings.encode()).hexdigest()
    done, paths = folder / "made-from.txt", (folder / "features.npy", folder / "windows.npy")
    if not (done.exists() and done.read_text() == digest):
        folder.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        _make(net, pictures, paths, seed, size, views, say)
        done.write_text(digest)
    return Cache(np.load(paths[0], mmap_mode="r"), np.load(paths[1]), digest)


def _make(
    net: InterpretableCnn,
    pictures: Sequence[Picture],
    paths: tuple[Path, Path],
    seed: int,
    size: int,
    views: Sequence[str],
    say: Callable[[str], None],
) -> None:
    net.eval()
    device, began = next(net.parameters()).device, time.monotonic()
    windows = np.zeros((len(views), len(pictures), 5), np.float32)
    features: NDArray[np.float16] | None = None
    for start in range(0, len(pictures), BATCH):
        some = pictures[start : start + BATCH]
        arrays = np.zeros((len(views), len(some), 3, size, size), np.uint8)
        for offset, picture in enumerate(some):
            with Image.open(picture.path) as file:
                image = file.convert("RGB")
            for number, kind in enumerate(views):
                seen = window(picture, kind, image.size, np.random.default_rng((seed, number, start + offset)))
                windows[number, start + offset] = (seen.x0, seen.y0, seen.x1, seen.y1, seen.flipped)
                arrays[number, offset] = view(image, seen, size)
        rgb = torch.from_numpy(arrays).flatten(0, 1).to(device, memory_format=torch.channels_last).float() / 255
        with torch.autocast(device.type, torch.bfloat16):
            lower = net.lower(rgb).float().cpu().unflatten(0, (len(views), len(some)))
        if features is None:
            shape = (len(views), len(pictures), *lower.shape[2:])
            features = np.lib.format.open_memmap(paths[0], "w+", np.float16, shape)
        features[:, start : start + len(some)] = lower.numpy().astype(np.float16)
        if start // BATCH % 20 == 19:
            rate = (start + len(some)) * len(views) / (time.monotonic() - began)
            say(f"  cached {start + len(some)} of {len(pictures)} pictures, {rate:.0f} views/s")
    np.save(paths[1], windows)
