"""What ``showcause evaluate parts`` does: networks over annotated pictures, measured, drawn and written down."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from showcause.commands.devices import check_device
from showcause.evaluation import receptive_pictures as drawn
from showcause.evaluation import report
from showcause.evaluation.accuracy import mean_logistic
from showcause.evaluation.interpretability import activation_thresholds
from showcause.evaluation.location import SILENT
from showcause.evaluation.measure import Regions, average, measure_category
from showcause.evaluation.refusal import EvaluationRefused
from showcause.evaluation.run import Observed, joined, learned_categories, observe, strongest_categories
from showcause.evaluation.scaling import scaled_field, up_scaling
from showcause.manifest import Manifest, read_manifest, sha256_of
from showcause.model import fill, part_names_of, untrained
from showcause.nets.interpretable import InterpretableCnn
from showcause.progress import told
from showcause.train.animal_parts import FRAME_PX, crops, read_parts
from showcause.train.animals import Picture, category_names, read_crops, squash, top1

RULE_SPLIT = "val"  # on which an ordinary twin's filters are given their categories
Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """A model that is measured."""

    manifest: Manifest
    net: InterpretableCnn
    names: dict[int, str]  # of its filters' parts

    @property
    def kind(self) -> str:
        return "interpretable" if self.net.parts.masked else "ordinary twin"


def evaluate(
    models: Sequence[Path],
    data: Path,
    out: Path,
    splits: Sequence[str],
    categories: Sequence[str],
    device: str,
    say: Say,
) -> None:
    """Measures model folders on sets of pictures, and writes table.md, results.json and figures into ``out``.

    splits: names of splits, or several joined by "+". categories: those that are measured, all if there are none.
    Raises EvaluationRefused or ManifestError before anything is computed, if it can.
    """
    if not (data / "crops.csv").is_file():
        raise EvaluationRefused(f"--data {data} has no crops.csv: it is no folder of Animal-Part pictures")
    try:
        known = category_names(data)
    except KeyError as error:
        raise EvaluationRefused(f"--data {data}: crops.csv has no column {error}") from error
    if unknown := [name for name in categories if name not in known]:
        raise EvaluationRefused(f"--category {unknown[0]} is not in the data; allowed: {', '.join(known)}")
    check_device(device, EvaluationRefused)
    subjects = [_subject(folder, known, device) for folder in models]
    names = [subject.manifest.name for subject in subjects]
    if len(set(names)) < len(names):
        raise EvaluationRefused(f"--model: two models have the same name: {', '.join(sorted(names))}")
    out.mkdir(parents=True, exist_ok=True)
    results = {
        **report.versions(),
        "crops_sha256": sha256_of(data / "crops.csv"),
        "published": report.PUBLISHED,
        "models": [_measure(subject, data, splits, categories or known, out, say) for subject in subjects],
    }
    (out / "results.json").write_text(json.dumps(report.without_nan(results), indent=2) + "\n", "utf-8")
    table = report.table(results)
    (out / "table.md").write_text(table, "utf-8")
    say(table)
    say(f"written to {out}: table.md, results.json and figures")


def _subject(folder: Path, known: Sequence[str], device: str) -> Subject:
    """Loads a network for measuring. (``showcause.model.load`` serves, and refuses a twin: no method explains it.)"""
    manifest = read_manifest(folder)
    net = untrained(manifest)
    if not isinstance(net, InterpretableCnn):
        raise EvaluationRefused(
            f"--model {folder}: network {manifest.network} has no filter parts; allowed: interpretable_... networks"
        )
    if manifest.input.width != manifest.input.height:
        raise EvaluationRefused(
            f"--model {folder}: its input is {manifest.input.width} x {manifest.input.height}; allowed: a square"
        )
    if differing := sorted(set(manifest.labels) ^ set(known)):
        raise EvaluationRefused(
            f"--model {folder}: its labels are not the data's categories: {', '.join(differing[:5])} on one side only"
        )
    fill(net, manifest)
    net.to(device)
    named = part_names_of(manifest, net)
    return Subject(manifest, net, {k: part.name for k, part in named.items() if part.name})


def _measure(
    subject: Subject, data: Path, splits: Sequence[str], categories: Sequence[str], out: Path, say: Say
) -> dict[str, Any]:
    """One model on every set of pictures; draws its figures from the first.

    An interpretable network's filters belong to the category that they learned in training. A twin's learned none: they
    get the one whose pictures of the val split activate them most (``category_means``), so that some categories may
    have many and others none, where training shares them out evenly.
    """
    manifest, net, labels = subject.manifest, subject.net, list(subject.manifest.labels)
    field = scaled_field(net.receptive_field, manifest.input.width, FRAME_PX)
    learned = learned_categories(net)
    needed = {part for split in splits for part in split.split("+")} | ({RULE_SPLIT} if learned is None else set())
    pictures = {split: read_crops(data, split, labels) for split in sorted(needed)}
    if empty := [split for split, some in pictures.items() if not some]:
        raise EvaluationRefused(f"--data {data} has no pictures of split {empty[0]}")
    seen: dict[str, Observed] = {}
    for split, some in pictures.items():
        batches = told(crops(some, manifest.input.width), len(some), f"{manifest.name}, pictures of {split}", say)
        seen[split] = observe(net, batches, field, keep_maps=True)
    filters = learned
    if filters is None:
        own = np.array([min(picture.labels) for picture in pictures[RULE_SPLIT]])
        filters = strongest_categories(seen[RULE_SPLIT].sums, own, len(labels))
    measured = {}
    for split in splits:
        parts = split.split("+")
        some = [picture for part in parts for picture in pictures[part]]
        observed = joined([seen[part] for part in parts])
        weights = up_scaling(field, _maps(observed).shape[-1], FRAME_PX)
        try:
            boxes = read_parts(data, parts)
        except ValueError as error:
            raise EvaluationRefused(f"--data {data}: {error}") from error
        say(f"{manifest.name}: measuring {len(filters)} filters on {len(some)} pictures of {split}")
        measured[split] = _measure_split(observed, some, boxes, filters, labels, categories, weights)
        if manifest.probability != "sigmoid":  # a softmax does not say what is above 0 and what below
            measured[split]["mean_logistic"] = float("nan")
        if len(measured) == 1:
            _draw(subject, observed, some, filters, categories, weights, out)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "kind": subject.kind,
        "network": manifest.network,
        "network_options": manifest.network_options,
        "weights_sha256": manifest.weights_sha256,
        "input_px": manifest.input.width,
        "filters": len(filters),
        "named_filters": len(subject.names),
        "categories_from": "training" if learned is not None else f"highest mean activation on {RULE_SPLIT}",
        "splits": measured,
    }


def _measure_split(
    observed: Observed,
    pictures: Sequence[Picture],
    boxes: NDArray[np.float64],
    filters: NDArray[np.integer],
    labels: list[str],
    categories: Sequence[str],
    weights: NDArray[np.floating],
) -> dict[str, Any]:
    """Accuracy over all pictures, and each category's filters on its own; the average weighs every filter the same."""
    own = np.array([min(picture.labels) for picture in pictures])
    maps = _maps(observed)
    thresholds = activation_thresholds(maps)
    found = {}
    for name in categories:
        mine, these = own == labels.index(name), np.flatnonzero(filters == labels.index(name))
        found[name] = measure_category(
            observed.places[mine][:, these],
            observed.scores[mine][:, these],
            boxes[:, mine],
            (FRAME_PX, FRAME_PX),
            Regions(maps[mine][:, these], thresholds[these], weights),
        )
    return {
        "pictures": len(pictures),
        "top1": top1(torch.from_numpy(observed.logits), list(pictures)),
        "mean_logistic": mean_logistic(observed.logits, own[:, None] == np.arange(len(labels))),
        "average": asdict(average(list(found.values()), by_filter=True)),
        "categories": {name: asdict(one) for name, one in found.items()},
    }


def _draw(
    subject: Subject,
    observed: Observed,
    pictures: Sequence[Picture],
    filters: NDArray[np.integer],
    categories: Sequence[str],
    weights: NDArray[np.floating],
    out: Path,
) -> None:
    """A row for each category: receptive-field pictures of its strongest filter, a named one where there is any; and
    how the parts of all its filters are distributed, on average and on single pictures.
    """

    def photo(row: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(squash(pictures[row], FRAME_PX).transpose(1, 2, 0))

    own, maps, labels = np.array([min(p.labels) for p in pictures]), _maps(observed), subject.manifest.labels
    fields, heats = [], []
    for name in categories:
        rows = np.flatnonzero(own == labels.index(name))
        these = [int(k) for k in np.flatnonzero(filters == labels.index(name))]
        these = [k for k in these if len(rows) and observed.scores[rows, k].max() > SILENT]
        if not these:
            continue
        best = max(these, key=lambda k: (k in subject.names, float(observed.scores[rows, k].mean())))
        strongest = [int(rows[i]) for i in drawn.strongest_pictures(observed.scores[rows, best], 8)]
        title = f"filter {best}: {name} {subject.names.get(best, '(no clear part)')}"
        fields.append(drawn.Row(title, [drawn.receptive_field(photo(r), maps[r, best], weights) for r in strongest]))
        # Each filter's peak over the category is 1, so that all weigh the same.
        shares = maps[rows][:, these] / observed.scores[rows][:, these].max(0)[:, None, None]
        mean_photo = np.mean([photo(int(r)) for r in rows], 0).astype(np.uint8)
        examples = rows[np.linspace(0, len(rows) - 1, min(7, len(rows))).astype(int)]
        singles = [drawn.heat_picture(photo(int(r)), drawn.distribution(maps[r, these], weights)) for r in examples]
        whole = drawn.heat_picture(mean_photo, drawn.distribution(shares, weights))
        heats.append(
            drawn.Row(f"{name}, filters: {len(these)}; first the average over {len(rows)} pictures", [whole, *singles])
        )
    for rows_of, title in ((fields, "receptive-fields"), (heats, "distributions")):
        if rows_of:
            drawn.sheet(rows_of).save(out / f"{subject.manifest.name}-{title}.png")


def _maps(observed: Observed) -> NDArray[np.floating]:
    if observed.maps is None:
        raise ValueError("the maps were not kept")
    return observed.maps
