"""``showcause evaluate parts`` from its flags to its files, on pictures whose parts a hand-made network finds."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from showcause import cli, nets, progress
from showcause.evaluation.naming import write_names
from showcause.manifest import sha256_of
from showcause.nets.interpretable import InterpretableCnn
from showcause.nets.ordinary import MEAN, STD

HEADER = "file,split,category,box_x0,box_y0,box_x1,box_y1,head_y,head_x,head_h,head_w,legs_y,legs_x,legs_h,legs_w"
LABELS = ("ant", "bee", "cow")
PICTURES = {"val": 8, "test": 12}  # of each category


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Grey pictures of 64 x 64 with a red square of 16, the head, anywhere: no two alike."""
    folder, rng, rows = tmp_path_factory.mktemp("data"), np.random.default_rng(0), [HEADER]
    for split, count in PICTURES.items():
        for label in LABELS:
            for number in range(count):
                top, left = rng.integers(0, 49, 2)
                pixels = np.full((64, 64, 3), 128, np.uint8)
                pixels[top : top + 16, left : left + 16] = (255, 0, 0)
                name = f"{split}-{label}-{number}.png"
                Image.fromarray(pixels).save(folder / name)
                scale = 224 / 64  # the box is the whole picture
                head = [scale * (top + 8), scale * (left + 8), scale * 16, scale * 16]
                rows.append(",".join(map(str, [name, split, label, 0, 0, 64, 64, *head, "", "", "", ""])))
    (folder / "crops.csv").write_text("\n".join(rows))
    return folder


def tiny(classes: int, **options: object) -> InterpretableCnn:
    """8 x 8 places at 32 px. The network sees how much redder than green each place is, through three filters."""
    net = InterpretableCnn(classes, [nn.Conv2d(3, 1, 4, 4), nn.ReLU()], channels=1, top=1, filters=3, **options)
    with torch.no_grad():
        for conv in (net.features[0], net.top.conv, net.parts.conv):
            conv.weight.zero_()
            conv.bias.zero_()
        net.features[0].weight[0, 0], net.features[0].weight[0, 1] = STD[0] / 16, -STD[1] / 16
        net.features[0].bias[0] = MEAN[0] - MEAN[1]
        net.top.conv.weight[0, 0, 1, 1] = 1
        net.parts.conv.weight[:, 0, 1, 1] = torch.tensor([1.0, 2, 0])  # the third is dead
    return net


def write_model(folder, network: str = "interpretable_tiny", labels=LABELS, size: str = "32", **options: object):
    folder.mkdir()
    net = nets.build(network, len(labels), options)
    if network == "interpretable_tiny" and net.parts.masked:
        net.parts.category = torch.arange(3)
    save_file(net.state_dict(), folder / "weights.safetensors")
    (folder / "labels.txt").write_text("\n".join(labels))
    (folder / "model.toml").write_text(
        f"""
name = "{folder.name}"
version = "1.0"
description = "for tests"
network = "{network}"
probability = "softmax"
methods = ["{"filter_parts" if network == "interpretable_tiny" else "linear_map"}"]
weights_sha256 = "{sha256_of(folder / "weights.safetensors")}"
[input]
width = {size}
height = 32
preprocessing = "squash"
[network_options]
"""
        + "\n".join(f"{key} = {str(value).lower()}" for key, value in options.items())
    )
    return folder


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A network that finds heads, and its twin."""
    monkeypatch.setitem(nets.NETS, "interpretable_tiny", tiny)
    interpretable = write_model(tmp_path / "finder")
    agreements = {
        "agreement": 0.9,
        "chance": 0.2,
        "images": 30,
        "test_agreement": 0.8,
        "test_chance": 0.2,
        "test_images": 9,
    }
    write_names(interpretable, [{"filter": 0, "category": "ant", "name": "head", **agreements}])
    return interpretable, write_model(tmp_path / "twin", masked=False)


def run(*arguments: object) -> int:
    return cli.main(["evaluate", "parts", *map(str, arguments)])


def refused(capsys, *arguments: object) -> str:
    """The line on stderr of a run that was refused."""
    assert run(*arguments) == 1
    return capsys.readouterr().err


def test_table_results_and_figures(data, models, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_SECONDS", -1.0)
    out = tmp_path / "out"
    assert run("--model", models[0], "--model", models[1], "--data", data, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "finder, pictures of test: 32 of 36" in printed

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    results = json.loads((out / "results.json").read_text(), parse_constant=no_constant)
    assert set(results) == {"showcause", "torch", "numpy", "pillow", "crops_sha256", "published", "models"}
    finder, twin = results["models"]
    assert (finder["kind"], finder["categories_from"], finder["named_filters"]) == ("interpretable", "training", 1)
    assert (twin["kind"], twin["categories_from"]) == ("ordinary twin", "highest mean activation on val")
    assert finder["weights_sha256"] == sha256_of(models[0] / "weights.safetensors")
    assert [one["pictures"] for one in finder["splits"].values()] == [36, 60]
    for split, pictures in (("test", 12), ("val+test", 20)):
        for label in ("ant", "bee"):
            measures = finder["splits"][split]["categories"][label]
            places = measures["stability"]
            # A place is 28 pixels of the frame wide, so that a peak is at most 20 from the head's centre, of 317.
            assert places["instability"] < 0.03
            assert min(places["shuffled"], places["random"]) > 0.08
            assert places["tracking"] == 1
            assert (places["alive"], places["dead"], places["rare"]) == (1, 0, 0)
            assert places["pictures"] == [pictures, 0]
            assert 0 <= measures["interpretability"] <= measures["interpretability_max"] <= 1
        cow = finder["splits"][split]["categories"]["cow"]
        assert (cow["stability"]["alive"], cow["stability"]["dead"]) == (0, 1)
        assert cow["stability"]["instability"] is cow["interpretability"] is None
        average = finder["splits"][split]["average"]["stability"]
        assert (average["alive"], average["dead"]) == (2, 1)
    assert sum(one["stability"]["dead"] for one in twin["splits"]["test"]["categories"].values()) == 1
    table = (out / "table.md").read_text()
    assert table in printed
    assert "| finder | interpretable | test (36) |" in table
    assert "| AlexNet | single-category, mean of 30 | 0.146 | 0.091 |" in table
    assert "nan" not in table
    assert {path.name for path in out.glob("*.png")} == {
        f"{model}-{figure}.png" for model in ("finder", "twin") for figure in ("receptive-fields", "distributions")
    }
    figure = np.asarray(Image.open(out / "finder-receptive-fields.png").convert("RGB"))
    assert (figure == (255, 0, 0)).all(2).any(), "the red heads are shown in their own colour"
    bright, dark = ((figure == level).all(2).sum() for level in (128, 51))
    assert bright < dark / 4, "and most of the rest is dark"


def test_one_category_on_one_split(data, models, tmp_path):
    out = tmp_path / "out"
    flags = ("--split", "test", "--category", "ant")
    assert run("--model", models[0], "--data", data, "--out", out, *flags) == 0
    (finder,) = json.loads((out / "results.json").read_text())["models"]
    assert list(finder["splits"]) == ["test"]
    assert list(finder["splits"]["test"]["categories"]) == ["ant"]


def test_what_is_refused(data, models, tmp_path, capsys, monkeypatch):
    finder, twin = models
    out = tmp_path / "out"
    rest = ("--data", data, "--out", out)
    assert "--data" in (error := refused(capsys, "--model", finder, "--data", tmp_path, "--out", out))
    assert "has no crops.csv" in error
    error = refused(capsys, "--model", finder, *rest, "--category", "zebra")
    assert "--category zebra is not in the data; allowed: ant, bee, cow" in error
    other = write_model(tmp_path / "other", "bcos_resnet18")
    assert "network bcos_resnet18 has no filter parts" in refused(capsys, "--model", other, *rest)
    assert "is no model folder" in refused(capsys, "--model", tmp_path / "nowhere", *rest)
    strange = write_model(tmp_path / "strange", labels=("ant", "bee", "yak"))
    assert "labels are not the data's categories: cow, yak" in refused(capsys, "--model", strange, *rest)
    wide = write_model(tmp_path / "wide", size="64")
    assert "its input is 64 x 32; allowed: a square" in refused(capsys, "--model", wide, *rest)
    assert "the same name: twin, twin" in refused(capsys, "--model", twin, "--model", twin, *rest)
    assert "no pictures of split train" in refused(capsys, "--model", finder, *rest, "--split", "train")
    assert "--device nowhere" in refused(capsys, "--model", finder, *rest, "--device", "nowhere")
    assert "--device meta" in refused(capsys, "--model", finder, *rest, "--device", "meta")
    (finder / "weights.safetensors").write_bytes(b"")
    assert "SHA-256" in refused(capsys, "--model", finder, *rest)
    with pytest.raises(SystemExit) as stopped:
        run("--model", finder, *rest, "--split", "test+tset")
    assert stopped.value.code == 2
    assert "'test+tset' is not allowed; train, val, test" in capsys.readouterr().err
