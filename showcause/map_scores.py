"""How a model's maps scored on its test split: ``maps.json`` in a model folder. Imports no torch.

    {"methods": {"cam": {"threshold": 0.4, "scores": [{"measure": "localization_accuracy", "value": 0.52,
                                                       "control_value": 0.59, "photo_count": 857}]}}}

threshold: the fraction of a map's maximum that gave the best boxes on the val split. ``showcause evaluate maps`` writes
this file.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from showcause.manifest import ManifestError
from showcause.reply import TestScore

THRESHOLD = 0.5  # of a method for which none was measured


@dataclass(frozen=True)
class MapScores:
    """Of one method's maps."""

    threshold: float
    scores: tuple[TestScore, ...]


def read_map_scores(path: Path, methods: Collection[str]) -> Mapping[str, MapScores]:
    """By method; empty where there is no such file. Raises ManifestError where it is not as it should be."""
    if not path.exists():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["methods"]
        found = {
            name: MapScores(float(row["threshold"]), tuple(TestScore(**score) for score in row["scores"]))
            for name, row in rows.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError(f"{path}: {type(error).__name__}: {error}; see showcause/map_scores.py") from error
    for name, one in found.items():
        if name not in methods:
            raise ManifestError(f"{path}: methods.{name} is none of the model's; allowed: {', '.join(methods)}")
        if not 0 <= one.threshold < 1:
            raise ManifestError(f"{path}: methods.{name}.threshold is {one.threshold}; allowed: from 0, below 1")
        for score in one.scores:
            if not (math.isfinite(score.value) and math.isfinite(score.control_value) and score.photo_count > 0):
                raise ManifestError(f"{path}: methods.{name}.scores: {score} is no score")
    return found


def write_map_scores(path: Path, found: Mapping[str, MapScores]) -> None:
    rows = {name: {"threshold": one.threshold, "scores": [asdict(score) for score in one.scores]}
            for name, one in found.items()}  # fmt: skip
    path.write_text(json.dumps({"methods": rows}, indent=1) + "\n", encoding="utf-8")
