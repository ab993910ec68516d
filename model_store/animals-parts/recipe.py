"""How animals-parts was trained: AlexNet with part filters that track their part, on 30 animals.

    showcause train animals-parts --data DATA --features alexnet_features_imagenet.safetensors

DATA holds the Animal-Part pictures (see showcause.train.animals). The convolutions below conv5 stay as ImageNet left
them, so the pictures go through them once (4 GB of cache in --out) and the rest takes minutes on two cores. With
--twin the ordinary twin is trained instead, under the same budget, into --out: it is measured, not served.
Choices were made on the val split; the test split is measured once, at the end, and by `showcause evaluate parts`.
"""

import argparse
import shutil
from functools import partial
from pathlib import Path

import numpy as np

from showcause.evaluation.naming import Observations, names_of_filters, write_names
from showcause.evaluation.run import observe
from showcause.manifest import sha256_of
from showcause.nets import build
from showcause.train.animal_nets import FILTERS, SIZE, as_served, report, train
from showcause.train.animal_parts import PARTS, crops, read_parts
from showcause.train.animals import category_names, read_crops
from showcause.train.report import install, pin


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

    out = options.out / (("twin" if options.twin else "parts") + ("-logistic" if options.logistic else ""))
    views, weights = options.out / "views", out / "weights.safetensors"
    net = train(options.data, options.features, views, out, not options.twin, options.logistic)
    network_options = {"filters": FILTERS, "masked": not options.twin}
    served = as_served(net, partial(build, "interpretable_alexnet", net.classes, network_options), weights)
    report(served, options.data)
    print(f"weights: {weights}, SHA-256 {sha256_of(weights)}")
    shutil.copyfile(Path(__file__).parent / "labels.txt", out / "labels.txt")
    (out / "model.toml").write_text(manifest_of(options.twin, options.logistic))
    pin(SIZE, out)
    print(f"{out} is a model folder: showcause evaluate parts --model {out} --data {options.data} --out FIGURES")
    if options.twin:
        return

    rows = named(served, options.data)
    write_names(out, rows)
    if options.install:
        folder = Path(__file__).parent
        install(weights, SIZE, folder)
        write_names(folder, rows)
        print(f"installed into {folder}")


def named(net, data) -> list[dict[str, object]]:
    """The rows of parts.json; prints how the names hold on the test split."""
    names, observations = category_names(data), []
    for split in ("train", "test"):
        pictures = read_crops(data, split, names)
        seen = observe(net, crops(pictures, SIZE), net.receptive_field)
        labels = np.array([min(picture.labels) for picture in pictures])
        observations.append(Observations(seen.places, seen.scores, read_parts(data, [split]), labels))
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
