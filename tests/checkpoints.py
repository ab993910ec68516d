"""Checkpoints as they are published: state dicts in the official layout, in files whose names tell their digest."""

from pathlib import Path

import torch

from showcause.manifest import sha256_of

# Options that narrow the official networks and leave their depth as it is.
NARROW = {
    "bcos_resnet18": {"width": 8},
    "bcos_resnet34": {"width": 8},
    "bcos_resnet50": {"width": 8},
    "bcos_resnet101": {"width": 8},
    "bcos_resnet152": {"width": 8},
    "bcos_densenet121": {"width": 8, "growth": 4},
    "bcos_vgg11": {"stages": [[8], [8], [12, 12], [16, 16], [16, 16]], "hidden": [16, 12]},
}


def saved(content: object, folder: Path, name: str = "net", **options: object) -> Path:
    """The file NAME-HASH.pth, HASH the first ten digits of its SHA-256."""
    path = folder / f"{name}.pth"
    torch.save(content, path, **options)
    return path.rename(folder / f"{name}-{sha256_of(path)[:10]}.pth")


def labels_file(folder: Path, count: int) -> Path:
    path = folder / "labels.txt"
    path.write_text("".join(f"class {index}\n" for index in range(count)))
    return path


def as_options(options: dict[str, object]) -> list[str]:
    """Flags of ``showcause models import``; these values read the same in TOML and in Python."""
    return [text for key, value in options.items() for text in ("--option", f"{key}={value}")]
