"""The part annotations of the Animal-Part pictures, and the crops that they are drawn on."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from showcause.train.animals import Picture, squash

PARTS = ("head", "legs")
FRAME_PX = 224  # side of the paper's crop, the object's box squashed to a square, which the annotations are drawn on
COLUMNS = ("y", "x", "h", "w")


def read_parts(data: Path, splits: Sequence[str]) -> NDArray[np.float64]:
    """Boxes of the parts, in the order of ``read_crops`` for one split after the other: (P, S, 4).

    Centre row and column, height and width in pixels of the ``FRAME_PX`` frame; NaN where a part is absent or not
    annotated. A box may reach a few pixels beyond the frame. Raises ValueError naming the wrong column or line.
    """
    path = data / "crops.csv"
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        missing = {f"{part}_{column}" for part in PARTS for column in COLUMNS} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} has no column {min(missing)}: it has no part annotations")
        rows = [(reader.line_num, row) for row in reader]
    ordered = [numbered for split in splits for numbered in rows if numbered[1]["split"] == split]
    boxes = np.full((len(PARTS), len(ordered), len(COLUMNS)), np.nan)
    for p, part in enumerate(PARTS):
        for s, (line, row) in enumerate(ordered):
            cells = [row[f"{part}_{column}"] for column in COLUMNS]
            if not any(cells):
                continue
            try:
                boxes[p, s] = [float(cell) for cell in cells]
            except ValueError:
                raise ValueError(f"{path}, line {line}: {part} is {cells}; allowed: four numbers or nothing") from None
    return boxes


def crops(pictures: Sequence[Picture], size: int, batch: int = 32) -> Iterator[NDArray[np.uint8]]:
    """The paper's crops at the size of a network's input: batches of (N, 3, size, size)."""
    for start in range(0, len(pictures), batch):
        yield np.stack([squash(picture, size) for picture in pictures[start : start + batch]])
