"""A file of class labels -> labels that are all different, in the order of the network's outputs."""

import json
from pathlib import Path

from showcause.importing import ImportRefused

ALLOWED = (
    'one label a line; or .json with a list, or an object {index: label} or {index: [id, label]}, such as {"0": "cat"}'
)


def read_labels(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """The labels, and a note on each that was changed; raises ImportRefused.

    Labels must differ, because requests name classes by them: of two "crane" the second becomes "crane (2)".
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = (
            _from_json(json.loads(text, object_pairs_hook=_once))
            if path.suffix == ".json"
            else text.rstrip().splitlines()
        )
    except ValueError as error:  # of which JSON's and Unicode's are kinds
        raise ImportRefused(f"--labels {path}: {error}; allowed: {ALLOWED}") from error
    labels = [label.strip() for label in found]
    for index, label in enumerate(labels):
        if len(label.splitlines()) != 1:
            raise ImportRefused(f"--labels {path}: label {index} is {label!r}; allowed: one line that is not empty")
    if len(labels) < 2:
        raise ImportRefused(f"--labels {path} has {len(labels)} labels; allowed: at least 2")
    notes, seen = [], set(labels)
    for index, label in enumerate(labels):
        if label in labels[:index]:
            number = 2
            while f"{label} ({number})" in seen:
                number += 1
            labels[index] = f"{label} ({number})"
            seen.add(labels[index])
            notes.append(f"class {index} has the label {label!r}, too: it becomes {labels[index]!r}")
    return tuple(labels), notes


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key stands twice")
    return table


def _from_json(value: object) -> list[str]:
    if isinstance(value, dict):
        wanted = [str(index) for index in range(len(value))]
        if missing := [index for index in wanted if index not in value]:
            raise ValueError(f"{len(value)} labels, and none has the index {missing[0]}")
        value = [value[index] for index in wanted]
    if not isinstance(value, list):
        raise ValueError(f"it holds a {type(value).__name__}")
    # ImageNet's class index pairs each label with the id of its WordNet entry.
    labels = [entry[1] if isinstance(entry, list) and len(entry) == 2 else entry for entry in value]
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise ValueError(f"entry {index} is {label!r}")
    return labels
