"""Do filters track parts? For each category an interpretable network and its ordinary twin, measured with controls.

    python benchmarks/parts/recipe.py --data DATA --features alexnet_features_imagenet.safetensors --out runs/parts

As in the paper (Zhang, Wu, Zhu: CVPR 2018, section 5) each network tells one category from all others. Both of a pair
start from the same ImageNet convolutions, of which those below conv5 stay as they are, and see the same pictures in the
same order for the same number of steps. Settings were chosen on val with --split val; the table is of test, and of val
and test together. Writes results.json (after each category: an interrupted run goes on where it was) and table.md.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from showcause.evaluation.interpretability import activation_thresholds
from showcause.evaluation.location import Stability
from showcause.evaluation.measure import CategoryMeasures, Regions, average, measure_category
from showcause.evaluation.report import versions, without_nan
from showcause.evaluation.run import Observed, joined, of_maps
from showcause.evaluation.scaling import up_scaling
from showcause.layers.interpretable import SETTINGS, Setting
from showcause.nets.interpretable import InterpretableCnn
from showcause.nets.trunks import alexnet, vgg16
from showcause.train.animal_parts import FRAME_PX, read_parts
from showcause.train.animals import category_names, read_crops
from showcause.train.part_views import Cache, cache
from showcause.train.parts import NEGATIVE, Recipe, fit, start

NETWORKS = {"alexnet": (alexnet, 256), "vgg16": (vgg16, 512)}  # the layers below the top, and its channels
FILTERS = 64  # of the added layer: one category has not 256 different parts
RECIPE = Recipe(steps=300)
STRENGTHS = {"tracked": 0.2, "paper": 1.0, "released": 1.0}  # of the filter loss
KINDS = ("ordinary", "interpretable")


def untrained(network: str, setting: Setting = "tracked", kind: str = "interpretable") -> InterpretableCnn:
    lower, channels = NETWORKS[network]
    masked = kind == "interpretable"
    return InterpretableCnn(1, lower(), channels, channels, FILTERS, setting=setting, masked=masked)


def trained(
    net: InterpretableCnn, features: dict[str, torch.Tensor], views: Cache, labels: NDArray[np.int64], recipe: Recipe
) -> None:
    start(net, features, recipe.gain)
    net.to(memory_format=torch.channels_last)
    fit(net, views, labels, recipe, say=lambda line: None)


@torch.no_grad()
def observed(net: InterpretableCnn, crops: Cache, pictures: NDArray[np.int64]) -> Observed:
    """The network on the crops themselves, from their cached lower activations."""
    found = []
    for some in np.array_split(pictures, max(1, len(pictures) // 64)):
        maps = net.parts(net.top(crops.batch(0, some).to(memory_format=torch.channels_last)))
        found.append(of_maps(net.head(maps) + net.bias, maps, net.receptive_field, keep_maps=True))
    return joined(found)


def measured(
    net: InterpretableCnn, crops: Cache, mine: NDArray[np.int64], others: NDArray[np.int64], boxes: NDArray[np.float64]
) -> dict[str, object]:
    """Accuracy on the category's pictures and as many of the others, and the measures of all filters on the former."""
    others = np.random.default_rng(0).choice(others, len(mine), replace=False)
    yes, no = observed(net, crops, mine), observed(net, crops, np.sort(others))
    field, n = net.receptive_field, yes.maps.shape[-1]
    regions = Regions(
        yes.maps, activation_thresholds(np.concatenate([yes.maps, no.maps])), up_scaling(field, n, FRAME_PX)
    )
    found = measure_category(yes.places, yes.scores, boxes[:, mine], (FRAME_PX, FRAME_PX), regions)
    first, second = np.triu_indices(FILTERS, 1)
    apart = np.linalg.norm(yes.places[:, first] - yes.places[:, second], axis=-1)
    right = (yes.logits > 0).mean() / 2 + (no.logits <= 0).mean() / 2
    return asdict(found) | {"accuracy": float(right), "filters_apart_px": float(apart.mean())}


def mean_of(results: dict[str, dict], kind: str, split: str) -> dict[str, float]:
    """The mean over categories, each weighing the same, as the paper's."""
    rows = [one[kind][split] for one in results.values()]
    measures = [
        CategoryMeasures(Stability(**row["stability"]), row["interpretability"], row["interpretability_max"])
        for row in rows
    ]
    found = asdict(average(measures))
    return found | {key: float(np.mean([row[key] for row in rows])) for key in ("accuracy", "filters_apart_px")}


COLUMNS = ("instability", "shuffled", "fixed_center", "random", "tracking")


def figure(value: float | None) -> str:
    """None and NaN stand for what could not be measured: all filters of a category may be dead."""
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


def table(results: dict[str, dict], splits: list[str]) -> str:
    """Markdown: the means of each kind on each split, and the categories."""
    head = ["accuracy", *COLUMNS, "interpretability", "filters apart (px)", "alive", "dead", "rare"]
    lines = [
        f"Mean of {len(results)} single-category networks, {FILTERS} filters each:",
        "",
        "| network | measured on | " + " | ".join(head) + " |",
        "|---" * (len(head) + 2) + "|",
    ]
    for split in splits:
        for kind in KINDS:
            mean = mean_of(results, kind, split)
            places = mean["stability"]
            figures = [f"{mean['accuracy']:.1%}", *(figure(places[key]) for key in COLUMNS)]
            figures += [figure(mean["interpretability"]), f"{mean['filters_apart_px']:.0f}"]
            figures += [str(places[key]) for key in ("alive", "dead", "rare")]
            lines.append(f"| {kind} | {split} | " + " | ".join(figures) + " |")
    split = splits[-1]
    lines += ["", f"Each category on {split}, ordinary -> interpretable:", ""]
    lines += ["| category | accuracy | instability | its own shuffled | fixed centre | random |", "|---" * 6 + "|"]
    for name, one in results.items():
        before, after = one["ordinary"][split], one["interpretable"][split]
        old, new = before["stability"], after["stability"]
        lines.append(
            f"| {name} | {before['accuracy']:.1%} -> {after['accuracy']:.1%} "
            f"| {figure(old['instability'])} -> {figure(new['instability'])} "
            f"| {figure(old['shuffled'])} -> {figure(new['shuffled'])} "
            f"| {figure(new['fixed_center'])} | {figure(new['random'])} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with crops.csv")
    parser.add_argument("--network", choices=NETWORKS, default="alexnet")
    parser.add_argument("--features", type=Path, required=True, help="the network's convolutions, ImageNet-trained")
    parser.add_argument("--out", type=Path, default=Path("runs/parts"), help="caches and results (AlexNet: 4 GB)")
    parser.add_argument("--categories", nargs="*", help="default: all 30")
    parser.add_argument("--setting", choices=SETTINGS, default="tracked")
    parser.add_argument("--strength", type=float, help="of the filter loss")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--split", choices=("val", "test"), default="test", help="val: for choosing settings")
    options = parser.parse_args()

    features = load_file(options.features)
    names = category_names(options.data)
    lower = untrained(options.network)
    start(lower, features, RECIPE.gain)
    train = read_crops(options.data, "train", names)
    views = cache(lower, train, options.out / "train", views=("object", "moved", "moved", "moved"))
    splits = ["val"] if options.split == "val" else ["val", "test"]
    crops = {split: read_crops(options.data, split, names) for split in splits}
    held_out = [picture for split in splits for picture in crops[split]]
    crop_cache = cache(lower, held_out, options.out / "-".join(splits), views=("object",))
    boxes = read_parts(options.data, splits)
    category = np.array([min(picture.labels) for picture in held_out])
    parts = {options.split: np.arange(len(held_out)) >= len(held_out) - len(crops[options.split])}
    if options.split == "test":
        parts["val and test"] = np.ones(len(held_out), bool)

    strength = STRENGTHS[options.setting] if options.strength is None else options.strength
    recipe = replace(RECIPE, strength=strength, steps=options.steps)
    settings = {
        "network": options.network,
        "setting": options.setting,
        "filters": FILTERS,
        "split": options.split,
    } | asdict(recipe)
    path = options.out / f"results-{options.setting}-{options.split}.json"
    saved = json.loads(path.read_text()) if path.exists() else {}
    results = saved["categories"] if saved.get("settings") == settings else {}
    for name in options.categories or names:
        if name in results:
            continue
        index = names.index(name)
        labels = np.array([0 if index in picture.labels else NEGATIVE for picture in train])
        results[name] = {}
        for kind in KINDS:
            began = time.monotonic()
            torch.manual_seed(recipe.seed)
            net = untrained(options.network, options.setting, kind)
            trained(net, features, views, labels, recipe)
            seconds = time.monotonic() - began
            results[name][kind] = {
                split: measured(
                    net,
                    crop_cache,
                    np.flatnonzero((category == index) & chosen),
                    np.flatnonzero((category != index) & chosen),
                    boxes,
                )
                for split, chosen in parts.items()
            }
            one = results[name][kind][options.split]
            print(
                f"{name}, {kind}: accuracy {one['accuracy']:.1%}, instability {one['stability']['instability']:.3f}, "
                f"shuffled {one['stability']['shuffled']:.3f}, {seconds:.0f} s",
                flush=True,
            )
        content = {"settings": settings, "versions": versions(), "categories": results}
        path.write_text(json.dumps(without_nan(content), indent=1) + "\n")
    text = table(results, list(parts))
    (options.out / f"table-{options.setting}-{options.split}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
