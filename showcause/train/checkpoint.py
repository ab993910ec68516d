"""What a training keeps after each epoch, so that the same call goes on after an interruption."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn


def resume(path: Path, settings: str, net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Fills network and optimizer from a checkpoint and returns what else it holds; {} where there is none.

    Raises ValueError for one that was made with other settings.
    """
    if not path.exists():
        return {}
    saved: dict[str, Any] = torch.load(path, weights_only=True, map_location=next(net.parameters()).device)
    if saved["settings"] != settings:
        raise ValueError(f"{path} was made with {saved['settings']}, and not with {settings}")
    net.load_state_dict(saved["net"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved


def keep(path: Path, settings: str, net: nn.Module, optimizer: torch.optim.Optimizer, **more: object) -> None:
    """Writes a checkpoint; an interruption leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "settings": settings, **more}
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)
