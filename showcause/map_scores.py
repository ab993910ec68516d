"""How a model's maps scored on its test split: ``maps.json`` in a model folder. Imports no torch.

    {"methods": {"cam": {"threshold": 0.4, "scores": [{"measure": "localization_accuracy", "value": 0.52,
                                                       "control_value": 0.59, "photo_count": 857}]}}}

threshold: the fraction of a map's maximum that gave the best boxes on the val split. ``showcause evaluate maps`` writes
this file.
"""

import json
import reprlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from showcause.manifest import ManifestError
from showcause.reply import METHOD_KINDS, TestScore

THRESHOLD = 0.5  # of a method for which none was measured
MOST_PHOTOS = 2**31 - 1  # int32 in replies


@dataclass(frozen=True)
class MapScores:
    """Of one method's maps."""

    threshold: float
    scores: tuple[TestScore, ...]


def read_map_scores(path: Path) -> Mapping[str, MapScores]:
    """By method; empty where there is no such file. Raises ManifestError, which names file and key.

    A method that model.toml no longer lists may stand here: who takes it out edits one file.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # of ValueError JSON's and Unicode's are kinds
        raise ManifestError(f"{path}: {type(error).__name__}: {error}; see showcause/map_scores.py") from error
    if not isinstance(content, dict) or not isinstance(content.get("methods"), dict):
        raise _wrong(path, "it", content, "an object with the key methods, an object")
    found = {}
    for name, row in content["methods"].items():
        if name not in METHOD_KINDS:
            raise ManifestError(f"{path}: methods.{name} is no method; allowed: {', '.join(METHOD_KINDS)}")
        found[name] = _read_method(path, f"methods.{name}", row)
    return found


def _read_method(path: Path, key: str, row: object) -> MapScores:
    if not isinstance(row, dict) or set(row) != {"threshold", "scores"}:
        raise _wrong(path, key, row, "an object with the keys threshold, scores")
    if not _is_number(row["threshold"]) or not 0 <= row["threshold"] < 1:
        raise _wrong(path, f"{key}.threshold", row["threshold"], "a number from 0, below 1")
    if not isinstance(row["scores"], list):
        raise _wrong(path, f"{key}.scores", row["scores"], "a list")
    scores = [_read_score(path, f"{key}.scores[{place}]", score) for place, score in enumerate(row["scores"])]
    return MapScores(float(row["threshold"]), tuple(scores))


def _read_score(path: Path, key: str, score: object) -> TestScore:
    keys = [field.name for field in fields(TestScore)]
    if not isinstance(score, dict) or set(score) != set(keys):
        raise _wrong(path, key, score, f"an object with the keys {', '.join(keys)}")
    measure, count = score["measure"], score["photo_count"]
    if not isinstance(measure, str) or not measure or not measure.isprintable():
        raise _wrong(path, f"{key}.measure", measure, "a line of text that is not empty")
    for name in ("value", "control_value"):
        if not _is_number(score[name]):
            raise _wrong(path, f"{key}.{name}", score[name], "a finite number")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_PHOTOS:
        raise _wrong(path, f"{key}.photo_count", count, f"a whole number from 1 to {MOST_PHOTOS}")
    return TestScore(measure, float(score["value"]), float(score["control_value"]), count)


def _is_number(value: object) -> bool:
    """Whether it is finite, and no bool; compared, not converted: 10^400 is an int that no float holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _wrong(path: Path, key: str, value: object, allowed: str) -> ManifestError:
    return ManifestError(f"{path}: {key} is {reprlib.repr(value)}; allowed: {allowed}")


def write_map_scores(path: Path, found: Mapping[str, MapScores]) -> None:
    rows = {name: {"threshold": one.threshold, "scores": [asdict(score) for score in one.scores]}
            for name, one in found.items()}  # fmt: skip
    path.write_text(json.dumps({"methods": rows}, indent=1) + "\n", encoding="utf-8")
