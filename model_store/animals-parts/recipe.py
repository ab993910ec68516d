"""How animals-parts was trained: AlexNet with part filters that track their part, on 30 animals.

    showcause train animals-parts --data DATA --features alexnet_features_imagenet.safetensors

DATA holds the Animal-Part pictures (see showcause.train.animals). The convolutions below conv5 stay as ImageNet left
them, so the pictures go through them once (4 GB of cache in --out) and the rest takes minutes on two cores. With
--twin the ordinary twin is trained instead, under the same budget, into --out: it is measured, not served.
Choices were made on the val split; the test split is measured once, at the end, and by `showcause evaluate parts`.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from showcause.evaluation.naming import Observations, names_of_filters, write_names
from showcause.evaluation.run import observe
from showcause.manifest import sha256_of
from showcause.model import served_precision
from showcause.nets import build
from showcause.train.animal_parts import PARTS, crops, read_parts
from showcause.train.animals import category_names, read_crops, read_scenes, top1
from showcause.train.part_views import cache
from showcause.train.parts import Recipe, fit, start
from showcause.train.report import install, per_class, pin

SIZE, FILTERS = 224, 240
RECIPE = Recipe(steps=1000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="showcause train animals-parts", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with crops.csv and scenes.csv")
    parser.add_argument("--features", type=Path, required=True, help="AlexNet's convolutions, ImageNet-trained")
    parser.add_argument("--out", type=Path, default=Path("runs/animals-parts"), help="cache, checkpoint and results")
    parser.add_argument("--twin", action="store_true", help="train the ordinary twin")
    parser.add_argument("--logistic", action="store_true", help="one logistic loss a class instead of a softmax")
    parser.add_argument("--install", action="store_true", help="put weights, digest and names into the model folder")
    options = parser.parse_args()
    if options.install and (options.twin or options.logistic):
        parser.error("--install is for the network that is served, not for --twin or --logistic")

    names = category_names(options.data)
    train = read_crops(options.data, "train", names)
    print(f"{len(train)} training pictures of {len(names)} categories")
    torch.manual_seed(RECIPE.seed)
    network_options = {"filters": FILTERS, "masked": not options.twin}
    net = build("interpretable_alexnet", len(names), network_options)
    start(net, load_file(options.features), RECIPE.gain)
    net = net.to(memory_format=torch.channels_last)
    views = cache(net, train, options.out / "views")
    labels = np.array([min(picture.labels) for picture in train])
    out = options.out / (("twin" if options.twin else "parts") + ("-logistic" if options.logistic else ""))
    fit(net, views, labels, replace(RECIPE, logistic=options.logistic), out)

    # What is measured is what is served: these weights.
    weights = out / "weights.safetensors"
    save_file(served_precision(net), weights)
    served = build("interpretable_alexnet", len(names), network_options)
    served.load_state_dict(load_file(weights))
    seen, pictures, field = {}, {"train": train}, served.receptive_field
    seen["train"] = observe(served, crops(train, SIZE), field)
    for split in ("val", "test"):
        pictures[split] = read_crops(options.data, split, names)
        seen[split] = observe(served, crops(pictures[split], SIZE), field)
        scenes = read_scenes(options.data, split, names)
        on_scenes = top1(torch.from_numpy(observe(served, crops(scenes, SIZE), field).logits), scenes)
        on_crops = top1(torch.from_numpy(seen[split].logits), pictures[split])
        print(f"{split}: top-1 {on_crops:.4f} of {len(pictures[split])} crops, {on_scenes:.4f} of {len(scenes)} scenes")
    print(per_class(torch.from_numpy(seen["test"].logits), pictures["test"], names))
    print(f"weights: {weights}, SHA-256 {sha256_of(weights)}")
    shutil.copyfile(Path(__file__).parent / "labels.txt", out / "labels.txt")
    (out / "model.toml").write_text(manifest_of(options.twin, options.logistic))
    pin(SIZE, out)
    print(f"{out} is a model folder: showcause evaluate parts --model {out} --data {options.data} --out FIGURES")
    if options.twin:
        return

    rows = named(served, names, options.data, pictures, seen)
    write_names(out, rows)
    if options.install:
        folder = Path(__file__).parent
        install(weights, SIZE, folder)
        write_names(folder, rows)
        print(f"installed into {folder}")


def named(net, names, data, pictures, seen) -> list[dict[str, object]]:
    """The rows of parts.json; prints how the names hold on the test split."""
    observations = [
        Observations(
            seen[split].places,
            seen[split].scores,
            read_parts(data, [split]),
            np.array([min(picture.labels) for picture in pictures[split]]),
        )
        for split in ("train", "test")
    ]
    rows = names_of_filters(net.parts.category.numpy(), names, PARTS, *observations)
    for part in PARTS:
        mine = [row for row in rows if row["name"] == part]
        mean = {
            key: round(sum(row[key] for row in mine) / max(len(mine), 1), 3)
            for key in ("test_agreement", "test_chance")
        }
        print(f"{len(mine)} of {FILTERS} filters named {part}; mean over them: {mean}")
    return rows


def manifest_of(twin: bool, logistic: bool) -> str:
    """The served model's model.toml, for this network; its weights are still to be pinned."""
    text = (Path(__file__).parent / "model.toml").read_text()
    if twin:
        text = text.replace("[network_options]", "[network_options]\nmasked = false").replace("-parts", "-parts-twin")
    return text.replace('"softmax"', '"sigmoid"') if logistic else text


if __name__ == "__main__":
    main()
