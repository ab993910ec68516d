"""Photos with a class each, as training commands are given them: ``--data DIR``.

DIR holds either ``crops.csv``, the Animal-Part pictures (``showcause.train.animals``), of which the training split is
taken, each seen through its object's box; or a folder of photos for each class, named exactly as the model's label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from showcause.errors import ShowcauseError
from showcause.image import SUFFIXES, InputSpec, decode, frame_of, to_input
from showcause.manifest import sha256_of
from showcause.reply import Rectangle
from showcause.train.animals import category_names, read_crops
from showcause.wishes import listed, near

HELD_OUT = 5  # for so many photos one is held out
SPLIT = "train"


class DataRefused(Exception):
    """What cannot be used; the message names the flag, its value and what is allowed."""


@dataclass(frozen=True)
class Photo:
    """region: in photo pixels, what of it the network sees; None for all of it. label: index of its class."""

    path: Path
    region: Rectangle | None
    label: int

    def read(self, spec: InputSpec) -> NDArray[np.float32]:
        """As the network that is served sees it: (3, H, W) in 0..1. Raises DataRefused where it cannot be read."""
        try:
            image = decode(self.path.read_bytes())
            return to_input(image, frame_of(image.size, self.region, spec))
        except (ShowcauseError, OSError) as error:
            raise DataRefused(f"--data: {self.path} cannot be read: {error}") from error

    def sha256(self) -> str:
        """Of the file, in hexadecimal. Raises DataRefused where it cannot be read."""
        try:
            return sha256_of(self.path)
        except OSError as error:
            raise DataRefused(f"--data: {self.path} cannot be read: {error}") from error


def find_photos(data: Path, labels: Sequence[str]) -> Mapping[int, list[Photo]]:
    """The photos of each class that has any, by its index. Raises DataRefused where there are none."""
    if not data.is_dir():
        raise DataRefused(f"--data {data} is no folder")
    found = _of_crops(data, labels) if (data / "crops.csv").is_file() else _of_folders(data, labels)
    if not found:
        raise DataRefused(
            f"--data {data} has no photos of the model's classes; allowed: a folder with crops.csv, or one with a "
            f"folder of photos ({', '.join(SUFFIXES)}) for each class, named {listed(tuple(labels), 5)}"
        )
    return dict(sorted(found.items()))


def _of_crops(data: Path, labels: Sequence[str]) -> dict[int, list[Photo]]:
    try:
        names = category_names(data)
        pictures = read_crops(data, SPLIT, names)
    except (KeyError, ValueError) as error:
        raise DataRefused(f"--data {data}: crops.csv is not as it should be: {error}") from error
    found: dict[int, list[Photo]] = {}
    for picture in pictures:
        (category,) = picture.labels
        if names[category] in labels:
            index = labels.index(names[category])
            found.setdefault(index, []).append(Photo(picture.path, Rectangle(*picture.box), index))
    return found


def _of_folders(data: Path, labels: Sequence[str]) -> dict[int, list[Photo]]:
    found = {}
    for index, label in enumerate(labels):
        folder = data / label
        if label not in (".", "..") and "/" not in label and folder.is_dir():
            photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
            if photos:
                found[index] = [Photo(path, None, index) for path in photos]
    return found


def choose_classes(found: Mapping[int, list[Photo]], wanted: Sequence[str], labels: Sequence[str]) -> tuple[int, ...]:
    """The classes that are wanted, all that have photos if none is named, in the order of the labels."""
    for label in wanted:
        if label not in labels:
            raise DataRefused(f"--classes {label!r} is no class of the model; allowed: {near(label, tuple(labels))}")
        if labels.index(label) not in found:
            known = listed(tuple(labels[index] for index in found), 10)
            raise DataRefused(f"--classes {label!r} has no photos in --data; allowed: {known}")
    return tuple(index for index in found if not wanted or labels[index] in wanted)


def choose_photos(
    found: Mapping[int, list[Photo]], classes: Sequence[int], count: int, seed: int, labels: Sequence[str]
) -> tuple[list[Photo], list[Photo]]:
    """``count`` photos of each class, fewer where there are fewer; and others of each that are held out."""
    fit: list[Photo] = []
    held: list[Photo] = []
    for index in classes:
        photos = found[index]
        if len(photos) < 2:
            raise DataRefused(f"--data has 1 photo of {labels[index]!r}; allowed: 2 or more, one of which is held out")
        aside = max(1, min(len(photos), count) // HELD_OUT)
        order = np.random.default_rng((seed, index)).permutation(len(photos))
        held += [photos[place] for place in order[:aside]]
        fit += [photos[place] for place in order[aside : aside + count]]
    return fit, held
