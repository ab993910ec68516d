"""A VGG-16 with global average pooling on the Animal-Part pictures, as a model folder, for `showcause evaluate maps`.

    python benchmarks/maps/recipe.py --data DATA --features vgg16_features_imagenet.safetensors --out runs/maps

The network of the CHIP paper (Cui, Wang, Wang: arXiv 1902.02497) with the training of animals-cnn: convolutions up to
conv5_2 as ImageNet training left them, conv5_3, an added layer and the head trained over cached views. Its weights
(30 MB) are not shipped. OUT/animals-vgg16 is a model folder; the end says what to call next. An interrupted training
goes on where it was. VGG-16 is ten times as dear as AlexNet: --size and --pictures make it bearable on a CPU.
"""

import argparse
from functools import partial
from pathlib import Path

from showcause.model import load
from showcause.nets import build
from showcause.train.animal_nets import FILTERS, SIZE, as_plain, as_served, report, train
from showcause.train.animals import category_names, predict, read_crops
from showcause.train.report import pin

STRIDE = 16  # pixels of the input between places of conv5
VIEWS = ("object", "moved", "whole")
MANIFEST = """\
name = "animals-vgg16"
version = "1.0"
description = "30 animals; an ordinary VGG-16 with global average pooling"
network = "plain_vgg16"
probability = "softmax"
methods = ["grad_cam", "cam", "chip", "gradient"]
weights_sha256 = ""

[network_options]
head = "pooled"
added = {filters}

[input]
width = {size}
height = {size}
preprocessing = "squash"

[serving]
workers = 1
batch_size = 8
response_timeout_seconds = 120
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with crops.csv and scenes.csv")
    parser.add_argument("--features", type=Path, required=True, help="VGG-16's convolutions, ImageNet-trained")
    parser.add_argument("--out", type=Path, default=Path("runs/maps"), help="cache, checkpoint and the model folder")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--size", type=int, default=SIZE, help="of the input, in pixels")
    parser.add_argument("--pictures", type=int, help="of a category, at most (all)")
    parser.add_argument("--views", nargs="+", default=VIEWS, choices=VIEWS)
    options = parser.parse_args()

    names = category_names(options.data)
    size = options.size
    twin = train(
        options.data,
        options.features,
        options.out / "views",
        options.out,
        masked=False,
        network="vgg16",
        kinds=options.views,
        steps=options.steps,
        size=size,
        most=options.pictures,
    )
    net = as_plain(twin, size // STRIDE, "plain_vgg16")
    some = read_crops(options.data, "val", names)[::50]
    difference = (predict(net, some, size) - predict(twin, some, size)).abs().max()
    print(f"logits differ from the twin's by at most {difference:.1g} on {len(some)} val crops")

    folder = options.out / "animals-vgg16"
    untrained = partial(build, "plain_vgg16", len(names), {"head": "pooled", "added": FILTERS})
    served = as_served(net, untrained, folder / "weights.safetensors")
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    (folder / "model.toml").write_text(MANIFEST.format(filters=FILTERS, size=size), "utf-8")
    pin(size, folder)
    load(folder, with_chip=False)
    report(served, options.data, size)
    print(
        f"{folder}: now\n"
        f"  showcause train chip --model animals-vgg16 --model-store {options.out} --layers features.31 "
        f"--data {options.data}\n"
        f"  showcause evaluate maps --model {folder} --data {options.data} --out {options.out}/maps"
    )


if __name__ == "__main__":
    main()
