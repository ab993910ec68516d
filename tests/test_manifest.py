"""Model folders: what is read, and what a broken one is told."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from showcause.manifest import ManifestError, read_manifest, read_store, sha256_of
from showcause.methods import METHODS
from showcause.model import load
from showcause.nets import NETS
from showcause.paths import top_level
from showcause.reply import METHOD_KINDS
from showcause.v1 import method_pb2


@pytest.fixture
def folder(shipped, tmp_path):
    return shutil.copytree(shipped, tmp_path / "model")


def rewrite(folder, old: str, new: str) -> None:
    path = folder / "model.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_shipped_model(shipped):
    manifest = read_manifest(shipped)
    assert manifest.name == shipped.name
    assert len(manifest.labels) == 30
    assert manifest.weights_sha256 == sha256_of(manifest.weights_path)
    assert manifest.card.startswith("# ")
    assert manifest.weights_path.stat().st_size <= 15_000_000


def test_tables_name_the_same_methods_as_the_contract():
    contract = {field.name for field in method_pb2.Method.DESCRIPTOR.oneofs_by_name["method"].fields}
    assert set(METHOD_KINDS) == contract
    assert set(METHODS) <= contract
    handlers = {path.stem for path in top_level("handlers").glob("*.py")}
    assert {name.split("_")[0] for name in NETS} == handlers, "handlers/ is chosen by the first word"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('network = "bcos_vgg"', 'network = "resnet"', "network is 'resnet'; allowed: bcos_resnet18, bcos_resnet34, "),
        ('probability = "sigmoid"', 'probability = "likely"', "probability is 'likely'; allowed: one of softmax, "),
        ('["linear_map"', '["magic"', r"methods is \['magic', .*allowed: a list of one or more of linear_map"),
        ('["linear_map"', '["cam"', "methods names cam; allowed: linear_map, chip"),
        ('preprocessing = "squash"', 'preprocessing = "stretch"', "input.preprocessing is 'stretch'"),
        ("width = ", "width = -", "input.width is -[0-9]+; allowed: a whole number from 8 to 4096"),
        ("[input]", "[inputs]", "input is nothing; allowed: a table"),
        ('version = "1.0"', "version = 1.0", "version is 1.0; allowed: a text"),
        ('name = "', 'name "', "is not TOML"),
        ('weights_sha256 = "', 'weights_sha256 = "0', "has SHA-256 [0-9a-f]{64}, and model.toml wants 0"),
    ],
)
def test_broken_folders_say_what_is_wrong(folder, old, new, message):
    rewrite(folder, old, new)
    with pytest.raises(ManifestError, match=message):
        load(folder)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(ManifestError, match="holds no model"):
        read_store(tmp_path / "empty")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ManifestError, match=r"has no weights.safetensors"):
        load(folder)
    (folder / "labels.txt").unlink()
    with pytest.raises(ManifestError, match=r"has no labels.txt"):
        load(folder)


def test_weights_that_do_not_fit_are_listed(folder):
    weights = load_file(folder / "weights.safetensors")
    weights["extra"] = torch.zeros(2)
    weights["features.0.linear.weight"] = torch.zeros(1, 2)
    del weights["features.1.weight"]
    save_file(weights, folder / "weights.safetensors")
    old = read_manifest(folder).weights_sha256
    rewrite(folder, old, sha256_of(folder / "weights.safetensors"))
    with pytest.raises(ManifestError) as caught:
        load(folder)
    for line in (
        "extra: (2,) instead of nothing",
        "features.0.linear.weight: (1, 2) instead of (64, 6, 3, 3)",
        "features.1.weight: missing instead of (64,)",
    ):
        assert line in str(caught.value)


def test_two_models_of_one_name_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "again")
    with pytest.raises(ManifestError, match="two models have the same name"):
        read_store(tmp_path)
