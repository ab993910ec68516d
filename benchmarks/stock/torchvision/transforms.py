"""The five transforms that TorchServe's image classifier uses, at torchvision's own cost.

Each does for a Pillow photo what torchvision's (BSD-3-Clause) does for one, by the same calls of Pillow and torch in
the same order: no copy more and none less.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class Compose:
    """One after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]):
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for each in self.transforms:
            image = each(image)
        return image


class Resize:
    """The shorter side to ``size`` px, bilinear."""

    def __init__(self, size: int):
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        short, long = min(width, height), max(width, height)
        if short == self.size:
            return image
        longer = int(self.size * long / short)
        size = (self.size, longer) if width <= height else (longer, self.size)
        return image.resize(size, Image.Resampling.BILINEAR)


class CenterCrop:
    """The square of ``size`` px in the middle; photos are larger here."""

    def __init__(self, size: int):
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        left, top = round((width - self.size) / 2.0), round((height - self.size) / 2.0)
        return image.crop((left, top, left + self.size, top + self.size))


class ToTensor:
    """A photo -> (3, H, W) float32 in 0..1."""

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
        pixels = pixels.view(image.size[1], image.size[0], len(image.getbands()))
        return pixels.permute((2, 0, 1)).contiguous().to(torch.float32).div(255)


class Normalize:
    """(x - mean) / std of each channel, on a copy."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = mean, std

    def __call__(self, pixels: Tensor) -> Tensor:
        pixels = pixels.clone()
        mean = torch.as_tensor(self.mean, dtype=pixels.dtype, device=pixels.device)
        std = torch.as_tensor(self.std, dtype=pixels.dtype, device=pixels.device)
        return pixels.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))
