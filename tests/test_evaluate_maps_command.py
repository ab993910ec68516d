"""``showcause evaluate maps`` from flags to files, on photos whose objects a hand-made network finds exactly."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from showcause import cli, nets
from showcause.manifest import sha256_of
from showcause.map_scores import read_map_scores
from showcause.nets.ordinary import OrdinaryNet

COLORS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0), "yellow": (255, 255, 0)}
LABELS = tuple(COLORS)
COUNTS = {"val": 4, "test": 8}  # photos of each class
METHODS = ("cam", "grad_cam", "gradient")


def colored(width: int, height: int, box: tuple[int, int, int, int], label: str) -> Image.Image:
    """A grey photo with a rectangle in one colour."""
    pixels = np.full((height, width, 3), 110, np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = COLORS[label]
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Objects lie at the photos' borders, where the central box misses them."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    crops = ["file,split,category,box_x0,box_y0,box_x1,box_y1"]
    scenes = ["file,name,width,height,xmin,ymin,xmax,ymax"]
    for split, count in COUNTS.items():
        (folder / "scenes" / split).mkdir(parents=True)
        for label in LABELS:
            for number in range(count):
                x, y = (int(4 * rng.integers(0, 3)) + 80 * int(rng.integers(2)) for _ in range(2))
                box, name = (x, y, x + 40, y + 32), f"scenes/{split}/{label}-{number}.png"
                colored(128, 128, box, label).save(folder / name)
                scenes.append(",".join(map(str, (name, label, 128, 128, *box))))
                crop = f"{split}-{label}-{number}.png"
                colored(64, 64, (8, 8, 56, 56), label).save(folder / crop)
                crops.append(f"{crop},{split},{label},0,0,64,64")
    (folder / "crops.csv").write_text("\n".join(crops))
    (folder / "scenes.csv").write_text("\n".join(scenes))
    return folder


class Colors(nn.Module):
    """How much of each class's colour stands out at each of 16 x 16 places, pooled, and a linear head."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 4, 4), nn.ReLU()
        self.fc = nn.Linear(4, classes)
        with torch.no_grad():
            for row, color in enumerate(COLORS.values()):
                own = torch.tensor(color) / 255
                weight = torch.where(own > 0, own / own.sum(), -1.0)
                self.conv.weight[row] = weight[:, None, None] / 16
            self.conv.bias.zero_()
            self.fc.weight.copy_(100 * torch.eye(classes, 4))
            self.fc.bias.zero_()

    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setitem(
        nets.NETS, "plain_colors", lambda classes: OrdinaryNet(Colors(classes), classes, (0, 0, 0), (1, 1, 1))
    )
    folder = tmp_path / "colors"
    folder.mkdir()
    save_file(Colors(4).state_dict(), folder / "weights.safetensors")
    (folder / "labels.txt").write_text("\n".join(LABELS))
    (folder / "model.toml").write_text(f"""
name = "colors"
version = "1.0"
description = "for tests"
network = "plain_colors"
probability = "softmax"
methods = {json.dumps(METHODS)}
weights_sha256 = "{sha256_of(folder / "weights.safetensors")}"
[input]
width = 64
height = 64
preprocessing = "squash"
""")
    return folder


def run(*arguments: object) -> int:
    return cli.main(["evaluate", "maps", *map(str, arguments)])


def refused(capsys, *arguments: object) -> str:
    assert run(*arguments) == 1
    return capsys.readouterr().err


def test_table_results_figures_and_what_is_saved(data, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--model", model, "--data", data, "--out", out, "--save") == 0
    (found,) = json.loads((out / "results.json").read_text())["models"]
    assert (found["photos"], found["top_1_accuracy"]) == (32, 1.0)
    error = {name: one["known_class"]["value"] for name, one in found["localization"].items()}
    assert error["cam"] == error["grad_cam"] == 0, "the map is the object"
    assert error["central_box"] == 1, "objects lie at the border"
    assert set(error) == {*METHODS, "mean_activation", "central_box"}
    assert found["pointing"]["cam"]["value"] == 1
    assert found["pointing"]["central_box"]["value"] == 0
    assert found["differences"]["cam - central_box"]["high"] == -1
    assert found["kinds"] == {"small": 32, "medium": 0, "large": 0, "one object": 32, "several objects": 0}
    game = found["grid_pointing"]["2x2"]
    assert game["grids"] == 8
    # Yellow's detector fires half as much on red and on green, so that its own cell holds half of its map; the others'
    # hold all of theirs, but for what the averaging spreads over the borders.
    assert game["scores"]["cam"]["value"] == pytest.approx((3 + 0.5) / 4, abs=0.05)
    assert game["scores"]["mean_activation"]["value"] == pytest.approx(0.25, abs=0.05)
    assert found["grid_pointing"]["3x3"]["grids"] == 0, "four classes do not fill a grid of nine"
    table = (out / "table.md").read_text()
    assert "| cam | " in table
    assert "51.45%" in table, "the published figures stand beside"
    with Image.open(out / "colors-photos.png") as photos, Image.open(out / "colors-grids-2x2.png") as grids:
        assert photos.width > 500
        assert grids.height > 300
    saved = read_map_scores(model / "maps.json")
    assert set(saved) == set(METHODS)
    score, pointing = saved["cam"].scores
    assert (score.measure, score.value, score.control_value, score.photo_count) == ("localization_accuracy", 1, 0, 32)
    assert (pointing.measure, pointing.control_value, pointing.photo_count) == ("grid_pointing_2x2", 0.25, 32)
    assert saved["cam"].threshold == found["chosen_on_val"]["cam"]["value"]
    capsys.readouterr()


def test_one_method_alone(data, model, tmp_path, capsys):
    assert run("--model", model, "--data", data, "--out", tmp_path, "--method", "cam") == 0
    (found,) = json.loads((tmp_path / "results.json").read_text())["models"]
    assert set(found["localization"]) == {"cam", "mean_activation", "central_box"}
    assert not (model / "maps.json").exists(), "only with --save"
    capsys.readouterr()


def test_what_cannot_be_measured_is_refused(data, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert "has no crops.csv" in refused(capsys, "--model", model, "--data", tmp_path, "--out", out)
    said = refused(capsys, "--model", model, "--data", data, "--out", out, "--method", "chip")
    assert "--method chip is none of colors's; allowed: cam, grad_cam, gradient" in said
    assert "--device nix: " in refused(capsys, "--model", model, "--data", data, "--out", out, "--device", "nix")
    (model / "labels.txt").write_text("red\ngreen\nblue\nyellow")
    assert "its classes are not those of the data" in refused(capsys, "--model", model, "--data", data, "--out", out)
    assert not out.exists()
