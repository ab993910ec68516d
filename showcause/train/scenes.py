"""The Animal-Part data's whole photos with their objects, for weakly supervised localisation."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from showcause.reply import Rectangle


@dataclass(frozen=True)
class Scene:
    """A whole photo. label: the class of its largest object. objects: all of that class, in photo pixels. size: width
    and height. labels: all classes that it shows.
    """

    path: Path
    label: int
    objects: tuple[Rectangle, ...]
    size: tuple[int, int]
    labels: frozenset[int]


def scenes(data: Path, split: str, names: list[str]) -> list[Scene]:
    """The photos of one split, by file name; names: the classes in the order of their indices."""
    objects: dict[str, list[tuple[int, Rectangle]]] = defaultdict(list)
    sizes: dict[str, tuple[int, int]] = {}
    with open(data / "scenes.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["file"].split("/")[1] == split:
                box = Rectangle(*(float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")))
                objects[row["file"]].append((names.index(row["name"]), box))
                sizes[row["file"]] = (int(row["width"]), int(row["height"]))
    found = []
    for name, some in sorted(objects.items()):
        label, _ = max(some, key=lambda one: one[1].width * one[1].height)
        own = tuple(box for its, box in some if its == label)
        found.append(Scene(data / name, label, own, sizes[name], frozenset(its for its, _ in some)))
    return found
