"""A folder of photos for each class, for tests of what is distilled or measured from one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(folder: Path, labels: Sequence[str], count: int, seed: int = 0) -> Path:
    """``count`` photos for each label: coarse random patterns, so that networks answer differently to each."""
    rng = np.random.default_rng(seed)
    for label in labels:
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((80, 64), Image.Resampling.BICUBIC).save(folder / label / f"{number:02}.png")
    return folder
