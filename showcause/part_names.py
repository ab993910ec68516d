"""A model folder's ``parts.json``: which part of an animal each filter stands for. Imports no torch.

    {"layer": "parts", "filters": [
        {"filter": 113, "category": "zebra", "name": "head", "agreement": 0.82, "test_agreement": 0.79,
         "test_chance": 0.41}, ...]}

A filter that is not listed, or whose name is "", has no clear part. The agreement is that with the annotated part: on
the training split, by which the name was chosen, and on the test split, which says how far to believe it. Chance is the
agreement on test if the same peaks were dealt out to the pictures at random. What else an entry holds is for people.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from showcause.manifest import ManifestError


@dataclass(frozen=True)
class PartName:
    """One filter's part. Agreements are from 0 to 1; see above."""

    filter: int
    category: str
    name: str
    agreement: float
    test_agreement: float
    test_chance: float


def read_part_names(path: Path, layer: str, filters: int, labels: Sequence[str]) -> dict[int, PartName]:
    """The named filters by their numbers; none where there is no file.

    layer, filters: name and number of filters of the network's layer. Raises ManifestError, which names file and key.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of the former JSON's and Unicode's are kinds
        raise ManifestError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or set(content) != {"layer", "filters"}:
        raise ManifestError(f"{path}: allowed: an object with the keys layer and filters")
    if content["layer"] != layer:
        raise _wrong(path, "layer", content["layer"], repr(layer))
    if not isinstance(content["filters"], list):
        raise _wrong(path, "filters", content["filters"], "a list")
    found: dict[int, PartName] = {}
    for position, entry in enumerate(content["filters"]):
        key = f"filters[{position}]"
        if not isinstance(entry, dict) or not {field.name for field in fields(PartName)} <= set(entry):
            keys = ", ".join(field.name for field in fields(PartName))
            raise _wrong(path, key, entry, f"an object with the keys {keys}, at least")
        one = _read_entry(path, key, entry, filters, labels)
        if one.filter in found:
            raise _wrong(path, f"{key}.filter", one.filter, "each filter once")
        found[one.filter] = one
    return found


def _read_entry(path: Path, key: str, entry: Mapping[str, object], filters: int, labels: Sequence[str]) -> PartName:
    number, category, name = entry["filter"], entry["category"], entry["name"]
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < filters:
        raise _wrong(path, f"{key}.filter", number, f"a filter of the network, 0 to {filters - 1}")
    if not isinstance(category, str) or category not in labels:
        raise _wrong(path, f"{key}.category", category, "a line of labels.txt")
    if not isinstance(name, str) or not name.isprintable():
        raise _wrong(path, f"{key}.name", name, 'a line of text, "" for no clear part')
    agreements = [_share(path, f"{key}.{each}", entry[each]) for each in ("agreement", "test_agreement", "test_chance")]
    return PartName(number, category, name, *agreements)


def _share(path: Path, key: str, value: object) -> float:
    # Not `value < 0 or value > 1`: every comparison with NaN is false, and NaN must be refused too.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise _wrong(path, key, value, "a number from 0 to 1")
    return float(value)


def _wrong(path: Path, key: str, value: object, allowed: str) -> ManifestError:
    return ManifestError(f"{path}: {key} is {value!r}; allowed: {allowed}")
