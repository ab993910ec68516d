"""Reads tests/golden and rebuilds the weights that its numbers were made with (see tests/golden/README.md)."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def facts(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def recipe(key: str, shape: list[int]) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)


def state_dict(name: str) -> dict[str, torch.Tensor]:
    """The state dict of a golden network, in the official order of keys."""
    stored, state = arrays(name), {}
    for entry in facts(name)["keys"]:
        key, shape = entry["key"], entry["shape"]
        if f"bn/{key}" in stored:
            state[key] = torch.from_numpy(stored[f"bn/{key}"])
        elif entry["dtype"] == "int64":
            state[key] = torch.zeros(shape, dtype=torch.long)
        else:
            values = recipe(key, shape)
            state[key] = torch.from_numpy((values if len(shape) == 4 else 1 + 0.1 * values).astype(np.float32))
    return state
