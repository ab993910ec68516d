"""The Animal-Part pictures of the interpretable-CNN paper: reading, augmenting, measuring.

A data folder holds ``crops.csv`` (objects with their box and surroundings) and ``scenes.csv`` (whole photos).
"""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from showcause.nets.base import Net

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the picture


@dataclass(frozen=True)
class Picture:
    """One stored picture; ``box`` is the object in it, ``labels`` the class indices that count as right."""

    path: Path
    box: Box
    labels: frozenset[int]


def read_crops(data: Path, split: str, names: list[str]) -> list[Picture]:
    """Objects of one split, one picture each; ``names`` gives the class order."""
    with open(data / "crops.csv", newline="") as file:
        return [
            Picture(
                data / row["file"],
                (float(row["box_x0"]), float(row["box_y0"]), float(row["box_x1"]), float(row["box_y1"])),
                frozenset([names.index(row["category"])]),
            )
            for row in csv.DictReader(file)
            if row["split"] == split
        ]


def read_scenes(data: Path, split: str, names: list[str]) -> list[Picture]:
    """Whole photos of one split; a photo that shows several animals counts as right for any of them."""
    labels: dict[str, set[int]] = defaultdict(set)
    sizes: dict[str, Box] = {}
    with open(data / "scenes.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["file"].split("/")[1] == split:
                labels[row["file"]].add(names.index(row["name"]))
                sizes[row["file"]] = (0, 0, float(row["width"]), float(row["height"]))
    return [Picture(data / file, sizes[file], frozenset(found)) for file, found in sorted(labels.items())]


def read_boxes(data: Path, split: str) -> dict[Path, list[Box]]:
    """The objects' boxes in each whole photo of a split, as shares of its width and height."""
    boxes: dict[Path, list[Box]] = defaultdict(list)
    with open(data / "scenes.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["file"].split("/")[1] == split:
                width, height = float(row["width"]), float(row["height"])
                x0, y0, x1, y1 = (float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
                boxes[data / row["file"]].append((x0 / width, y0 / height, x1 / width, y1 / height))
    return boxes


def category_names(data: Path) -> list[str]:
    """The categories in alphabetical order."""
    with open(data / "crops.csv", newline="") as file:
        return sorted({row["category"] for row in csv.DictReader(file)})


def squash(picture: Picture, size: int) -> np.ndarray:
    """The object's box resized to ``size`` x ``size``, aspect ratio given up: (3, size, size) uint8."""
    with Image.open(picture.path) as image:
        return to_array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, picture.box))


def to_array(image: Image.Image) -> np.ndarray:
    """RGB picture -> (3, H, W) uint8."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def augmented(picture: Picture, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random view of the object: tight or with surroundings, squashed or not, sometimes small in a blurred frame.

    People send whole photos as well as tight crops, so the window runs from the inside of the box to the whole stored
    picture, and one view in four is shrunk further. Returns (3, size, size) uint8.
    """
    with Image.open(picture.path) as file:
        image = file.convert("RGB")
    width, height = image.size
    x0, y0, x1, y1 = picture.box
    if rng.random() < 0.3:  # a part of the object
        scale = rng.uniform(0.6, 1.0, 2)
        w, h = scale * (x1 - x0, y1 - y0)
        x0, y0 = rng.uniform(x0, x1 - w), rng.uniform(y0, y1 - h)
        x1, y1 = x0 + w, y0 + h
    else:  # the object with some of its surroundings
        t = rng.uniform(0, 1, 4) * rng.uniform(0, 1)
        x0, y0, x1, y1 = x0 * (1 - t[0]), y0 * (1 - t[1]), x1 + (width - x1) * t[2], y1 + (height - y1) * t[3]
    if rng.random() < 0.5:  # nearer to a square, as far as the picture reaches, so that aspect ratios vary
        side = max(x1 - x0, y1 - y0)
        dx, dy = (side - (x1 - x0)) / 2 * rng.uniform(0, 1), (side - (y1 - y0)) / 2 * rng.uniform(0, 1)
        x0, x1, y0, y1 = max(0, x0 - dx), min(width, x1 + dx), max(0, y0 - dy), min(height, y1 + dy)
    box = (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))
    if rng.random() < 0.25:
        inner = int(size * rng.uniform(0.45, 0.9))
        frame = image.resize((size, size), Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(size / 12))
        view = image.resize((inner, inner), Image.Resampling.BILINEAR, box)
        frame.paste(view, (int(rng.integers(size - inner + 1)), int(rng.integers(size - inner + 1))))
    else:
        frame = image.resize((size, size), Image.Resampling.BILINEAR, box)
    array = to_array(frame)
    return array[:, :, ::-1].copy() if rng.random() < 0.5 else array


class Views(torch.utils.data.Dataset[tuple[np.ndarray, int]]):
    """Augmented training views; the view depends on (seed, epoch, index) alone, whatever the number of workers."""

    def __init__(self, pictures: list[Picture], size: int, seed: int, epoch: int):
        self.pictures, self.size, self.seed, self.epoch = pictures, size, seed, epoch

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        picture = self.pictures[index]
        (label,) = picture.labels
        return augmented(picture, self.size, np.random.default_rng((self.seed, self.epoch, index))), label


def jittered(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and colour balance varied per picture; (N, 3, H, W) in 0..1."""
    n = len(rgb)
    brightness = 0.8 + 0.4 * torch.rand(n, 1, 1, 1, generator=generator)
    contrast = 0.8 + 0.4 * torch.rand(n, 1, 1, 1, generator=generator)
    balance = 0.92 + 0.16 * torch.rand(n, 3, 1, 1, generator=generator)
    mean = rgb.mean((1, 2, 3), keepdim=True)
    return (((rgb - mean) * contrast + mean) * brightness * balance).clamp(0, 1)


def predict(net: Net, pictures: list[Picture], size: int, batch: int = 64) -> Tensor:
    """Logits on squashed boxes, the served preprocessing: (len(pictures), classes)."""
    net.eval()
    device, logits = next(iter(net.state_dict().values())).device, []
    for start in range(0, len(pictures), batch):
        rgb = torch.from_numpy(np.stack([squash(p, size) for p in pictures[start : start + batch]])).float() / 255
        logits.append(net.run(rgb.to(device, memory_format=torch.channels_last)).logits.cpu())
    return torch.cat(logits).float()


def top1(logits: Tensor, pictures: list[Picture]) -> float:
    """Share of pictures whose strongest class is among the right ones."""
    best = logits.argmax(1).tolist()
    return sum(guess in p.labels for guess, p in zip(best, pictures, strict=True)) / len(pictures)
