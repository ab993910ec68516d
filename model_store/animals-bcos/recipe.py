"""How animals-bcos was trained: VGG-16's convolutions up to conv4, B-cosified, on 30 animals.

    showcause train animals-bcos --data DATA --features vgg16_features_imagenet.safetensors

DATA holds the Animal-Part pictures (see showcause.train.animals). About an hour on two cores with a C++ compiler.
Choices (learning rates, input size) were made on the val split; the test split is measured once, at the end.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from showcause.layers.bcos import UncentredNorm2d
from showcause.nets.bcos import BcosVgg
from showcause.train.animals import category_names, predict, read_boxes, read_crops, read_scenes, squash, top1
from showcause.train.bcosify import start_from_vgg16
from showcause.train.loop import Phase, fit
from showcause.train.report import half, per_class, positive_share_in_box, write_weights

SEED = 7
PHASES = [  # b rises from the ordinary 1, so that ImageNet is not forgotten; small pictures first, they are cheap
    Phase(size=96, epochs=1, b=1.0),
    Phase(size=96, epochs=1, b=1.5),
    Phase(size=96, epochs=6),
    Phase(size=128, epochs=7),
]
BATCH = 32
SERVED_SIZES = (112, 128, 144, 160)
RATES = {"filters": 2e-4, "norms": 2e-3, "head": 3e-3}  # 1e-3 for the filters forgets ImageNet (val 44% against 58%)


def main() -> None:
    parser = argparse.ArgumentParser(prog="showcause train animals-bcos", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with crops.csv and scenes.csv")
    parser.add_argument("--features", type=Path, required=True, help="VGG-16 convolutions, ImageNet-trained")
    parser.add_argument("--out", type=Path, default=Path("runs/animals-bcos"), help="checkpoints and results")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    names = category_names(options.data)
    train = read_crops(options.data, "train", names)
    val = read_crops(options.data, "val", names)
    val_scenes = read_scenes(options.data, "val", names)
    print(f"{len(train)} training pictures of {len(names)} categories; val: {len(val)} crops, {len(val_scenes)} scenes")

    torch.manual_seed(SEED)
    net = BcosVgg(len(names))
    sample = torch.from_numpy(np.stack([squash(picture, PHASES[0].size) for picture in train[::40]])).float() / 255
    start_from_vgg16(net, load_file(options.features), sample)
    net = net.to(options.device, memory_format=torch.channels_last)

    norms = [p for layer in net.features if isinstance(layer, UncentredNorm2d) for p in layer.parameters()]
    filters = [p for p in net.features.parameters() if p.ndim == 4]
    groups = [
        {"params": filters, "lr": RATES["filters"]},
        {"params": norms, "lr": RATES["norms"]},
        {"params": list(net.classifier.parameters()), "lr": RATES["head"]},
    ]

    def measure(net: torch.nn.Module, size: int) -> str:
        half = val[::2]
        crops, scenes = predict(net, half, size), predict(net, val_scenes, size)
        return f"half of val: crops {top1(crops, half):.3f}, scenes {top1(scenes, val_scenes):.3f}"

    fit(net, groups, train, PHASES, BATCH, SEED, options.out, measure)

    # The served input size is chosen on val; the test split is looked at once, with that size.
    net.cpu()
    scores = {}
    for size in SERVED_SIZES:
        scores[size] = top1(predict(net, val, size), val), top1(predict(net, val_scenes, size), val_scenes)
        print(f"val at {size} px: crops {scores[size][0]:.3f}, scenes {scores[size][1]:.3f}")
    size = max(scores, key=lambda size: sum(scores[size]))

    test = read_crops(options.data, "test", names)
    logits = predict(net, test, size)
    single = BcosVgg(len(names))
    single.load_state_dict(half(net.state_dict()))
    agreement = (predict(single, test, size).argmax(1) == logits.argmax(1)).float().mean()
    scenes, boxes = read_scenes(options.data, "test", names), read_boxes(options.data, "test")
    scene_logits = predict(net, scenes, size)
    alone = [(scene, boxes[scene.path][0]) for scene in scenes if len(boxes[scene.path]) == 1]
    shares = positive_share_in_box(net, [scene for scene, _ in alone], [box for _, box in alone], size)
    areas = torch.tensor([(box[2] - box[0]) * (box[3] - box[1]) for _, box in alone])
    print(f"input size {size} px")
    print(f"test crops: top-1 {top1(logits, test):.4f} of {len(test)}")
    print(f"test scenes: top-1 {top1(scene_logits, scenes):.4f} of {len(scenes)}")
    print(f"test crops on which float16 weights give the float32 class: {agreement:.4f}")
    print(
        f"positive contributions inside the box, {len(alone)} test scenes with one object: median "
        f"{shares.median():.3f}; the box's area: median {areas.median():.3f}; more inside than its area: "
        f"{(shares > areas).float().mean():.3f} of the scenes"
    )
    print(per_class(logits, test, names))
    folder = Path(__file__).parent
    print(
        f"weights written to {folder}, SHA-256 {write_weights(net, folder)}; set the input size in model.toml to {size}"
    )


if __name__ == "__main__":
    main()
