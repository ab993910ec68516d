"""Weakly supervised localisation: does a map's box find the object, though no box was ever trained on?

As ILSVRC measures it (Russakovsky et al., IJCV 2015) and CAM, Grad-CAM and CHIP report it: a photo is right if the one
predicted box overlaps *any* object of its class by an intersection over union of more than 0.5. Boxes are edges in
photo pixels. S photos; each has one class and one or more objects of it. Nothing here knows where a box came from:
those of maps (``showcause.box``) and the control, a box in the middle that ignores the photo, are measured alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showcause.evaluation.bootstrap import Interval, bootstrap
from showcause.reply import Rectangle

Floats = NDArray[np.floating]
Masks = dict[str, NDArray[np.bool_]]

RIGHT = 0.5  # an overlap of more than this is right
THRESHOLDS = tuple(step / 20 for step in range(20))  # 0 to 0.95: of a map's maximum
SIDES = tuple(step / 20 for step in range(1, 21))  # 0.05 to 1: of the photo's sides
# Of the photo, the area of its largest object: of the Animal-Part test scenes 20% are small, 38% large.
SMALL, LARGE = 0.2, 0.5


def iou(one: Rectangle, other: Rectangle) -> float:
    """Intersection over union of two boxes, 0 to 1; 0 where both are empty."""
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    both = max(width, 0.0) * max(height, 0.0)
    union = _area(one) + _area(other) - both
    return both / union if union > 0 else 0.0


def overlaps(boxes: Sequence[Rectangle | None], objects: Sequence[Sequence[Rectangle]]) -> Floats:
    """(S,) each photo's best overlap of its box with one of its objects; 0 where no box was found.

    ValueError for a photo without objects: it has nothing that could be right.
    """
    if not all(objects):
        raise ValueError(f"photo {[bool(some) for some in objects].index(False)} has no objects; allowed: one or more")
    pairs = zip(boxes, objects, strict=True)
    return np.array([0.0 if box is None else max(iou(box, each) for each in some) for box, some in pairs])


def errors(found: Floats, recognized: NDArray[np.bool_] | None = None) -> Floats:
    """(S,) 1 for each photo that is wrong and 0 for each that is right, from its overlap.

    Without ``recognized`` the class is known, and only the box can be wrong. recognized: (S,) whether the network's
    strongest class is the photo's; where it is not the photo is wrong however well the box fits (top-1 error). The box
    is the true class's either way, because it counts only where that is the class that was predicted.
    """
    wrong = found <= RIGHT if recognized is None else (found <= RIGHT) | ~recognized
    return wrong.astype(float)


@dataclass(frozen=True)
class Choice:
    """What was chosen on val. candidates, errors: (T,) all that were tried, and the known-class error of each."""

    value: float
    error: float
    candidates: tuple[float, ...]
    errors: tuple[float, ...]


def choose(
    candidates: Sequence[float],
    boxes_at: Callable[[float], Sequence[Rectangle | None]],
    objects: Sequence[Sequence[Rectangle]],
) -> Choice:
    """The candidate with the lowest known-class error, and of equally good ones the smallest.

    boxes_at: the boxes of all photos for one candidate, which is a threshold (``THRESHOLDS``) or a central box's side
    (``SIDES``). The smallest threshold gives the largest box, and a whole object has more room than a part of it.
    """
    found = [float(errors(overlaps(boxes_at(candidate), objects)).mean()) for candidate in candidates]
    error, value = min(zip(found, candidates, strict=True))
    return Choice(value, error, tuple(candidates), tuple(found))


def central_box(photo: Rectangle, side: float) -> Rectangle:
    """The control: a box in the middle of a photo, ``side`` times as wide and as high as that."""
    x, y = (photo.x_min + photo.x_max) / 2, (photo.y_min + photo.y_max) / 2
    half_width, half_height = side * photo.width / 2, side * photo.height / 2
    return Rectangle(x - half_width, y - half_height, x + half_width, y + half_height)


def kinds(objects: Sequence[Sequence[Rectangle]], photo_areas: ArrayLike) -> Masks:
    """Which photos are of which kind, each (S,): by the share of the photo's area (S,), in square pixels, that its
    largest object takes (less than ``SMALL``, ``LARGE`` or more, or between), and by the number of its objects.

    The largest counts because a box is right if it finds any of them, and that is the easiest to find.
    """
    share = np.array([max(_area(each) for each in some) for some in objects]) / np.asarray(photo_areas, float)
    several = np.array([len(some) > 1 for some in objects])
    small, large = share < SMALL, share >= LARGE
    return {
        "small": small,
        "medium": ~small & ~large,
        "large": large,
        "one object": ~several,
        "several objects": several,
    }


@dataclass(frozen=True)
class Localization:
    """Shares of photos that are wrong. known_class, top_1: of all. by_kind: with known class, of each kind of photo."""

    known_class: Interval
    top_1: Interval
    by_kind: dict[str, Interval]


def localization(
    found: Floats, recognized: NDArray[np.bool_], photos: Masks | None = None, seed: int = 0
) -> Localization:
    """All errors of one method from its overlaps (S,); photos: the kinds that are told apart, see ``kinds``.

    For the difference of two methods: ``bootstrap(errors(found) - errors(other))``.
    """
    known = errors(found)
    return Localization(
        bootstrap(known, seed),
        bootstrap(errors(found, recognized), seed),
        {kind: bootstrap(known[mask], seed) for kind, mask in (photos or {}).items()},
    )


def _area(box: Rectangle) -> float:
    return max(box.width, 0.0) * max(box.height, 0.0)
