"""Names for filters: which annotated part a filter's peak lies in, held against chance.

On the training pictures of its category that show part p and on which the filter fires,

    agreement = share of pictures whose peak lies inside the part's box
    chance    = the same if the filter's peaks were dealt out to these pictures at random

A big part in the middle is hit by anything, so a share alone gives no name. The test split decides nothing: its
agreement stands beside the name as evidence.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from showcause.evaluation.location import SILENT

Floats = NDArray[np.floating]
LEAST_AGREEMENT = 0.5
LEAST_PICTURES = 20
LEAST_LEAD = 0.1  # of agreement over chance, and ...
LEAST_DEVIATIONS = 3.0  # ... at least this many standard deviations of it: hundreds of filters are looked at


@dataclass(frozen=True)
class Agreement:
    """How often a filter's peak lies inside one part; NaN without pictures."""

    agreement: float
    chance: float
    pictures: int

    @property
    def clear(self) -> bool:
        """Whether it deserves the part's name."""
        if self.pictures < LEAST_PICTURES or self.agreement < LEAST_AGREEMENT:
            return False
        deviation = math.sqrt(self.chance * (1 - self.chance) / self.pictures)
        return self.agreement - self.chance >= max(LEAST_LEAD, LEAST_DEVIATIONS * deviation)


def agreement(places: Floats, scores: Floats, boxes: Floats) -> Agreement:
    """Of one filter and one part.

    places: (S, 2) row and column in pixels. scores: (S,). boxes: (S, 4) centre row and column, height, width in
    pixels, NaN where absent. Chance is the exact mean over all ways to shuffle: that of every place in every box.
    """
    counts = (scores > SILENT) & ~np.isnan(boxes[:, 0])
    places, boxes = places[counts], boxes[counts]
    if not len(places):
        return Agreement(math.nan, math.nan, 0)
    inside = np.all(np.abs(places[:, None] - boxes[:, :2]) <= boxes[:, 2:] / 2, axis=2)  # [place, box]
    return Agreement(float(np.diagonal(inside).mean()), float(inside.mean()), len(places))


@dataclass(frozen=True)
class Observations:
    """Where filters fire on the pictures of one split. places: (S, K, 2). scores: (S, K). boxes: (P, S, 4), see
    ``agreement``. labels: (S,) class indices of the pictures.
    """

    places: Floats
    scores: Floats
    boxes: Floats
    labels: NDArray[np.integer]

    def of(self, filter_index: int, category: int, part: int) -> Agreement:
        mine = self.labels == category
        return agreement(self.places[mine, filter_index], self.scores[mine, filter_index], self.boxes[part, mine])


def names_of_filters(
    categories: NDArray[np.integer],
    labels: Sequence[str],
    parts: Sequence[str],
    train: Observations,
    test: Observations,
) -> list[dict[str, object]]:
    """The rows of ``parts.json``: of the filters that have a clear part, in the filters' order.

    categories: (K,) learned category of each filter, -1 for none. labels: names of the classes. parts: their names, in
    the order of ``boxes``. Of several parts that are clear, a filter is named after that of the highest agreement.
    """
    rows: list[dict[str, object]] = []
    for k, category in enumerate(int(category) for category in categories):
        found = [train.of(k, category, p) for p in range(len(parts))] if category >= 0 else []
        clear = [p for p, one in enumerate(found) if one.clear]
        if not clear:
            continue
        best = max(clear, key=lambda p: found[p].agreement)
        seen = test.of(k, category, best)
        rows.append(
            {
                "filter": k,
                "category": labels[category],
                "name": parts[best],
                "agreement": _rounded(found[best].agreement),
                "chance": _rounded(found[best].chance),
                "images": found[best].pictures,
                "test_agreement": _rounded(seen.agreement),
                "test_chance": _rounded(seen.chance),
                "test_images": seen.pictures,
            }
        )
    return rows


def write_names(folder: Path, rows: Sequence[Mapping[str, object]], layer: str = "parts") -> Path:
    """Writes ``parts.json`` (see ``showcause.part_names``) into a model folder, a filter a line; returns its path."""
    path = folder / "parts.json"
    lines = ",\n".join("    " + json.dumps(row) for row in rows)
    path.write_text(f'{{\n  "layer": {json.dumps(layer)},\n  "filters": [\n{lines}\n  ]\n}}\n', encoding="utf-8")
    return path


def _rounded(share: float) -> float:
    """JSON has no NaN: where there were no pictures (``test_images`` 0), the agreement is 0."""
    return 0.0 if math.isnan(share) else round(share, 4)
