"""How animals-cnn was trained: an ordinary AlexNet with global average pooling, on 30 animals.

    showcause train animals-cnn --data DATA --features alexnet_features_imagenet.safetensors

It is the ordinary twin of animals-parts: the same training without masks and filter losses (four minutes on two cores,
and four more to make the cache of 4 GB in --out), written down as a plain AlexNet whose head pools and is linear. DATA
holds the Animal-Part pictures (see showcause.train.animals). With --twin a twin that was trained already (by `showcause
train animals-parts --twin`) is taken. The test split decided nothing.
"""

import argparse
from functools import partial
from pathlib import Path

from safetensors.torch import load_file

from showcause.manifest import sha256_of
from showcause.nets import build
from showcause.train.animal_nets import FILTERS, SIZE, as_plain, as_served, report, train
from showcause.train.animals import category_names, predict, read_crops
from showcause.train.report import install


def main() -> None:
    parser = argparse.ArgumentParser(prog="showcause train animals-cnn", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with crops.csv and scenes.csv")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--features", type=Path, help="AlexNet's convolutions, ImageNet-trained")
    start.add_argument("--twin", type=Path, help="weights of a twin that was trained already; nothing is trained")
    parser.add_argument("--out", type=Path, default=Path("runs/animals-cnn"), help="cache, checkpoint and results")
    parser.add_argument("--install", action="store_true", help="put weights and digest into the model folder")
    options = parser.parse_args()

    names = category_names(options.data)
    if options.twin:
        twin = build("interpretable_alexnet", len(names), {"filters": FILTERS, "masked": False})
        twin.load_state_dict(load_file(options.twin))
    else:
        twin = train(options.data, options.features, options.out / "views", options.out, masked=False)

    net = as_plain(twin)
    some = read_crops(options.data, "val", names)[::5]
    difference = (predict(net, some, SIZE) - predict(twin, some, SIZE)).abs().max()
    print(f"logits differ from the twin's by at most {difference:.1g} on {len(some)} val crops")
    weights = options.out / "weights.safetensors"
    untrained = partial(build, "plain_alexnet", len(names), {"head": "pooled", "added": FILTERS})
    report(as_served(net, untrained, weights), options.data)
    print(f"weights: {weights}, SHA-256 {sha256_of(weights)}")
    if options.install:
        install(weights, SIZE, Path(__file__).parent)
        print(f"installed into {Path(__file__).parent}")


if __name__ == "__main__":
    main()
