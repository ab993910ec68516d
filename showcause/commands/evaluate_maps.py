"""What ``showcause evaluate maps`` does: where a model's maps point, measured, drawn and written down."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from showcause.box import box_of
from showcause.commands.devices import check_device
from showcause.evaluation import maps_report, pointing
from showcause.evaluation.bootstrap import bootstrap
from showcause.evaluation.localization import (
    SIDES,
    THRESHOLDS,
    Choice,
    central_box,
    choose,
    errors,
    kinds,
    localization,
    overlaps,
)
from showcause.evaluation.map_pictures import Column, row, sheet, whole_frame
from showcause.evaluation.maps import MEAN_ACTIVATION, maps_of, probabilities, settled
from showcause.evaluation.refusal import EvaluationRefused
from showcause.evaluation.report import versions, without_nan
from showcause.image import frame_of, to_input
from showcause.manifest import sha256_of
from showcause.map_scores import MapScores, write_map_scores
from showcause.methods import Attribution
from showcause.model import Model, load
from showcause.placing import at_size, grid_of
from showcause.progress import told
from showcause.reply import InputFrame, Rectangle, TestScore
from showcause.train.animals import category_names, read_crops, squash
from showcause.train.scenes import Scene, scenes
from showcause.v1 import method_pb2

CENTRAL_BOX = "central_box"  # the control that looks at nothing
BATCH = 16
GRIDS = {2: 100, 3: 40}  # pictures a side, and grids at most
SHOWN = 8  # photos on the sheet
Say = Callable[[str], None]
Methods = dict[str, method_pb2.Method]


def evaluate(
    folders: Sequence[Path], data: Path, out: Path, names: Sequence[str], device: str, save: bool, say: Say
) -> None:
    """Measures the maps of model folders, and writes table.md, results.json and figures into ``out``.

    names: of the methods, all that the models answer where there are none. save: whether thresholds and scores go into
    the model folders, as maps.json. Raises EvaluationRefused or ManifestError before anything is computed, if it can.
    """
    for name in ("crops.csv", "scenes.csv"):
        if not (data / name).is_file():
            raise EvaluationRefused(f"--data {data} has no {name}: it is no folder of Animal-Part pictures")
    categories = category_names(data)
    check_device(device, EvaluationRefused)
    models = [load(folder, device) for folder in folders]
    for model in models:
        if list(model.manifest.labels) != categories:
            raise EvaluationRefused(f"--model {model.manifest.folder}: its classes are not those of the data")
        if unknown := [name for name in names if name not in model.manifest.methods]:
            allowed = ", ".join(model.manifest.methods)
            raise EvaluationRefused(f"--method {unknown[0]} is none of {model.manifest.name}'s; allowed: {allowed}")
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for model in models:
        methods = settled(model, names or model.manifest.methods)
        found = _localized(model, data, methods, out, say)
        found["grid_pointing"] = {f"{n}x{n}": _grid_pointing(model, data, methods, n, out, say) for n in GRIDS}
        if save:
            _save(model, found)
        manifest = model.manifest
        rows.append(
            {"name": manifest.name, "version": manifest.version, "weights_sha256": manifest.weights_sha256} | found
        )
    results = {**versions(), "scenes_sha256": sha256_of(data / "scenes.csv"), "models": rows}
    (out / "results.json").write_text(json.dumps(without_nan(results), indent=2) + "\n", "utf-8")
    table = maps_report.table(without_nan(results))
    (out / "table.md").write_text(table, "utf-8")
    say(table)
    say(f"written to {out}: table.md, results.json and figures")


def _localized(model: Model, data: Path, methods: Methods, out: Path, say: Say) -> dict[str, Any]:
    """Thresholds chosen on val; errors, pointing game and differences on test, with the controls."""
    labels = list(model.manifest.labels)
    chosen = _chosen(model, scenes(data, "val", labels), methods, say)
    some = scenes(data, "test", labels)
    boxes: dict[str, list[Rectangle | None]] = defaultdict(list)
    places: dict[str, list[bool]] = defaultdict(list)
    recognized: list[bool] = []
    tiles: list[tuple[str, list[Image.Image]]] = []
    shown = set(np.linspace(0, len(some) - 1, SHOWN).astype(int).tolist())
    for number, (scene, frame, logits, found) in enumerate(_over(model, some, methods, "test photos", say)):
        recognized.append(int(logits.argmax()) == scene.label)
        for name, attribution in found.items():
            grid = grid_of(frame, attribution.map, attribution.units)
            boxes[name].append(box_of(attribution.map, grid, chosen[name].value))
            places[name].append(pointing.hits(pointing.strongest_place(attribution.map, grid), scene.objects))
        whole = Rectangle(0.0, 0.0, *map(float, scene.size))
        boxes[CENTRAL_BOX].append(central_box(whole, chosen[CENTRAL_BOX].value))
        places[CENTRAL_BOX].append(pointing.hits(pointing.center(whole), scene.objects))
        if number in shown:
            with Image.open(scene.path) as image:
                columns = [Column(one.map, boxes[name][-1]) for name, one in found.items()]
                tiles.append((labels[scene.label], row(image.convert("RGB"), frame, columns, scene.objects)))
    sheet(["photo", *found], tiles).save(out / f"{model.manifest.name}-photos.png")
    objects = [scene.objects for scene in some]
    photos = kinds(objects, [scene.size[0] * scene.size[1] for scene in some])
    known = np.array(recognized)
    wrong = {name: overlaps(found, objects) for name, found in boxes.items()}
    return {
        "photos": len(some),
        "top_1_accuracy": float(known.mean()),
        "kinds": {kind: int(mask.sum()) for kind, mask in photos.items()},
        "chosen_on_val": {name: {"value": one.value, "error": one.error} for name, one in chosen.items()},
        "localization": {name: asdict(localization(found, known, photos)) for name, found in wrong.items()},
        "pointing": {
            name: asdict(bootstrap(np.array(hit, float)))
            | {"class_average": pointing.class_average(hit, [scene.label for scene in some])}
            for name, hit in places.items()
        },
        # Each method's known-class error less the control's, photo by photo.
        "differences": {
            f"{name} - {other}": asdict(bootstrap(errors(wrong[name]) - errors(wrong[other])))
            for name in wrong
            for other in (CENTRAL_BOX, MEAN_ACTIVATION, "grad_cam")
            if name != other and other in wrong
        },
    }


def _chosen(model: Model, some: list[Scene], methods: Methods, say: Say) -> dict[str, Choice]:
    """The threshold of each method, and the side of the central box, with the lowest error on val."""
    at: dict[str, dict[float, list[Rectangle | None]]] = defaultdict(lambda: defaultdict(list))
    for _, frame, _, found in _over(model, some, methods, "val photos", say):
        for name, attribution in found.items():
            grid = grid_of(frame, attribution.map, attribution.units)
            for threshold in THRESHOLDS:
                at[name][threshold].append(box_of(attribution.map, grid, threshold))
    objects = [scene.objects for scene in some]
    chosen = {name: choose(THRESHOLDS, found.__getitem__, objects) for name, found in at.items()}
    wholes = [Rectangle(0.0, 0.0, *map(float, scene.size)) for scene in some]
    chosen[CENTRAL_BOX] = choose(SIDES, lambda side: [central_box(whole, side) for whole in wholes], objects)
    return chosen


def _over(
    model: Model, some: Sequence[Scene], methods: Methods, what: str, say: Say
) -> Iterator[tuple[Scene, InputFrame, NDArray[np.floating], dict[str, Attribution]]]:
    """Every photo as it is served: its frame, its logits (C,) and the maps of its class."""
    batches = [some[start : start + BATCH] for start in range(0, len(some), BATCH)]
    for these in told(batches, len(some), f"{model.manifest.name}: {what}", say):
        frames = [frame_of(scene.size, None, model.manifest.input) for scene in these]
        pixels = []
        for scene, frame in zip(these, frames, strict=True):
            with Image.open(scene.path) as image:
                pixels.append(to_input(image.convert("RGB"), frame))
        rgb = torch.from_numpy(np.stack(pixels))
        logits, found = maps_of(model, rgb, [[scene.label] for scene in these], methods)
        yield from zip(these, frames, logits, found, strict=True)


def _grid_pointing(model: Model, data: Path, methods: Methods, n: int, out: Path, say: Say) -> dict[str, Any]:
    """The grid pointing game on test crops: mean share of the positive contribution in the class's own cell."""
    manifest = model.manifest
    height, width = manifest.input.height, manifest.input.width
    crops = read_crops(data, "test", list(manifest.labels))
    images = np.stack([squash(picture, width) for picture in crops])
    labels = np.array([min(picture.labels) for picture in crops])
    logits = [
        model.net.run(_rgb(images[start : start + BATCH]).to(model.device)).logits.float().cpu().numpy()
        for start in range(0, len(images), BATCH)
    ]
    grids = pointing.choose_grids(probabilities(np.concatenate(logits), manifest.probability), labels, n, GRIDS[n])
    scores: dict[str, list[float]] = defaultdict(list)
    tiles: list[tuple[str, list[Image.Image]]] = []
    for grid in told([[one] for one in grids], len(grids), f"{manifest.name}: {n}x{n} grids", say):
        (indices,) = grid
        picture = pointing.compose(images[list(indices)], n)
        _, found = maps_of(model, _rgb(picture[None]), [labels[list(indices)].tolist()], methods)
        for cell, one in enumerate(found):
            for name, attribution in one.items():
                size = (n * width, n * height)
                shares = pointing.cell_shares(at_size(attribution.map, attribution.units, size, size), n)
                scores[name].append(float(shares[divmod(cell, n)]))
        if len(tiles) < SHOWN // 2:
            whole, frame = Image.fromarray(picture.transpose(1, 2, 0)), whole_frame(n * width, n * height)
            title = f"{manifest.labels[labels[indices[0]]]}, top left"
            tiles.append((title, row(whole, frame, [Column(one.map) for one in found[0].values()])))
    if tiles:
        sheet(["photos", *found[0]], tiles).save(out / f"{manifest.name}-grids-{n}x{n}.png")
    return {
        "grids": len(grids),
        "uninformed": 1 / n**2,
        "scores": {name: asdict(bootstrap(found)) for name, found in scores.items()},
    }


def _rgb(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).to(memory_format=torch.channels_last).float() / 255


def _save(model: Model, found: dict[str, Any]) -> None:
    """Thresholds and scores into the model folder, from where replies quote them."""
    control = 1 - found["localization"][CENTRAL_BOX]["known_class"]["value"]
    two = found["grid_pointing"]["2x2"]
    rows = {}
    for name in model.manifest.methods:
        if name not in found["localization"]:
            continue
        scores = [
            TestScore(
                "localization_accuracy",
                round(1 - found["localization"][name]["known_class"]["value"], 4),
                round(control, 4),
                found["photos"],
            )
        ]
        if two["scores"]:
            mean = two["scores"][name]
            scores.append(TestScore("grid_pointing_2x2", round(mean["value"], 4), two["uninformed"], mean["count"]))
        rows[name] = MapScores(found["chosen_on_val"][name]["value"], tuple(scores))
    write_map_scores(model.manifest.maps_path, rows)
