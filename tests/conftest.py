"""Shared by all tests: photos, the shipped model, requests, and the GPU rule."""

import io
import os
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from showcause.model import Model, load
from showcause.paths import top_level

SHIPPED = top_level("model_store") / "animals-bcos"


def pytest_configure() -> None:
    """With several test processes, each keeps to a core of its own, and the services that it starts with it: torch's
    threads wait for each other in loops, and stall tenfold where others want the same core.
    """
    process = os.environ.get("PYTEST_XDIST_WORKER", "")
    if process and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(process.removeprefix("gw")) % len(cores)]})


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **({"quality": 92} | options))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def chelsea() -> Image.Image:
    """A cat, 451 x 300."""
    return Image.fromarray(skimage.data.chelsea())


@pytest.fixture(scope="session")
def photo(chelsea: Image.Image) -> bytes:
    return jpeg(chelsea)


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """Different photos of different sizes."""
    names = ("chelsea", "astronaut", "coffee", "rocket")
    return [jpeg(Image.fromarray(getattr(skimage.data, name)())) for name in names]


@pytest.fixture(scope="session")
def shipped() -> Path:
    """The shipped model's folder."""
    return SHIPPED


@pytest.fixture(scope="session")
def model(shipped: Path) -> Model:
    return load(shipped)
