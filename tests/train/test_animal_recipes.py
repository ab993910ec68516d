"""The recipes of animals-parts and animals-cnn from their flags to what they print, on a few pictures and two steps."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from showcause import cli
from showcause.nets import build
from showcause.paths import top_level
from showcause.train import animal_nets

COLORS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}
PARTS = [f"{part}_{column}" for part in ("head", "legs") for column in "yxhw"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three categories that differ in colour, four pictures of each in every split, and one whole photo."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    with open(folder / "crops.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "category", "box_x0", "box_y0", "box_x1", "box_y1", *PARTS])
        for split in ("train", "val", "test"):
            for n in range(12):
                category = sorted(COLORS)[n % 3]
                pixels = rng.normal(COLORS[category], 20, (60, 80, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{split}{n}.png")
                writer.writerow([f"{split}{n}.png", split, category, 10, 5, 70, 55, 60, 60, 80, 80, "", "", "", ""])
    rows = ["file,name,width,height,xmin,ymin,xmax,ymax"]
    for split in ("val", "test"):
        (folder / f"scenes/{split}").mkdir(parents=True)
        Image.open(folder / f"{split}1.png").save(folder / f"scenes/{split}/1.png")
        rows.append(f"scenes/{split}/1.png,green,80,60,10,5,70,55")
    (folder / "scenes.csv").write_text("\n".join(rows))
    torch.manual_seed(0)
    features = build("plain_alexnet", 3, {"head": "pooled"}).state_dict()
    save_file({key: value for key, value in features.items() if "features" in key}, folder / "alexnet.safetensors")
    return folder


@pytest.fixture(autouse=True)
def two_steps(monkeypatch):
    monkeypatch.setattr(animal_nets, "RECIPE", replace(animal_nets.RECIPE, steps=2, batch=3))


def trained(name: str, data, out, capsys, *flags: object) -> str:
    features = [] if "--twin" in flags and name == "animals-cnn" else ["--features", data / "alexnet.safetensors"]
    assert cli.main(["train", name, "--data", str(data), "--out", str(out), *map(str, [*features, *flags])]) == 0
    return capsys.readouterr().out


def figures(output: str) -> list[str]:
    found = re.findall(r"^(?:val|test): top-1 .*|^\| (?:blue|green|red) .*", output, re.MULTILINE)
    assert len(found) == 5, output
    return found


def test_the_cnn_is_the_twin_whether_trained_here_or_before(data, tmp_path, capsys):
    before = trained("animals-parts", data, tmp_path / "parts", capsys, "--twin")
    weights = tmp_path / "parts/twin/weights.safetensors"
    assert "12 training pictures of 3 categories" in before
    converted = trained("animals-cnn", data, tmp_path / "converted", capsys, "--twin", weights)
    (difference,) = re.findall(r"logits differ from the twin's by at most (\S+) on 3 val crops", converted)
    assert float(difference) < 1e-5
    anew = trained("animals-cnn", data, tmp_path / "anew", capsys)
    assert figures(before) == figures(converted) == figures(anew)
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("converted", "anew"))
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, msg=key)


def test_animals_parts_names_its_filters(data, tmp_path, capsys):
    output = trained("animals-parts", data, tmp_path, capsys)
    assert len(figures(output)) == 5
    assert "of 240 filters named head" in output
    folder = tmp_path / "parts"
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "labels.txt", "model.toml", "parts.json"}
    shipped = load_file(top_level("model_store") / "animals-parts/weights.safetensors")
    assert load_file(folder / "weights.safetensors").keys() == shipped.keys()
