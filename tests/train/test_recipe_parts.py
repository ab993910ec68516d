"""What the recipes call: B-cosification, augmentation, and training that resumes."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from showcause.layers.bcos import add_inverse
from showcause.nets.bcos_vgg import BcosVgg
from showcause.train.animals import augmented, category_names, read_crops, read_scenes, squash, top1
from showcause.train.bcosify import MEAN, STD, VGG16_CONVS, six_channels, start_from_vgg16
from showcause.train.loop import Phase, fit, learning_rate

COLORS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve pictures of three categories that differ in colour, as a data folder."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    header = ["file", "split", "category", "box_x0", "box_y0", "box_x1", "box_y1"]
    with open(folder / "crops.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for n in range(12):
            category = sorted(COLORS)[n % 3]
            pixels = rng.normal(COLORS[category], 20, (60, 80, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{n}.png")
            writer.writerow([f"{n}.png", "train", category, 10, 5, 70, 55])
    return folder


def test_first_layer_for_six_channels_answers_as_before():
    weight, bias, x = torch.randn(8, 3, 3, 3), torch.randn(8), torch.rand(2, 3, 9, 9)
    before = F.conv2d((x - MEAN[:, None, None]) / STD[:, None, None], weight, bias)
    after = F.conv2d(add_inverse(x), six_channels(weight, bias))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_start_from_vgg16_keeps_filter_directions():
    stages = ((4, 4), (6, 5))
    net, generator = BcosVgg(3, stages), torch.Generator().manual_seed(0)
    shapes = [(4, 3), (4, 4), (6, 4), (6, 6)]
    features = {}
    for index, (out, inputs) in zip(VGG16_CONVS, shapes, strict=False):
        features[f"features.{index}.weight"] = torch.randn(out, inputs, 3, 3, generator=generator)
        features[f"features.{index}.bias"] = torch.zeros(out)
    start_from_vgg16(net, features, torch.rand(4, 3, 16, 16, generator=generator))
    second = net.features[2].linear.weight.flatten(1)
    torch.testing.assert_close(second, F.normalize(features["features.2.weight"].flatten(1)))
    assert len(net.features[-2].linear.weight) == 5, "the narrower layer takes some of the filters"
    torch.testing.assert_close(net.features[-2].linear.weight.flatten(1).norm(dim=1), torch.ones(5))


def test_views_are_seeded_and_of_one_size(data):
    (picture, *_) = read_crops(data, "train", category_names(data))
    views = [augmented(picture, 32, np.random.default_rng(seed)) for seed in range(20)]
    assert {view.shape for view in views} == {(3, 32, 32)}
    np.testing.assert_array_equal(views[3], augmented(picture, 32, np.random.default_rng(3)))
    assert len({view.tobytes() for view in views}) == 20


def test_scenes_count_any_of_their_animals_as_right(tmp_path):
    rows = ["file,name,width,height,xmin,ymin,xmax,ymax"]
    rows += ["scenes/test/a/1.jpg,cat,10,20,0,0,5,5", "scenes/test/a/1.jpg,dog,10,20,5,5,9,9"]
    (tmp_path / "scenes.csv").write_text("\n".join(rows))
    (scene,) = read_scenes(tmp_path, "test", ["bird", "cat", "dog"])
    assert scene.labels == {1, 2}
    assert scene.box == (0, 0, 10, 20)
    assert top1(torch.tensor([[0.0, 0.0, 1.0]]), [scene]) == 1
    assert top1(torch.tensor([[1.0, 0.0, 0.0]]), [scene]) == 0


def test_learning_rate_rises_then_falls_to_zero():
    assert learning_rate(0) == 0
    assert learning_rate(0.03) == 1
    assert learning_rate(1) == pytest.approx(0)


def train(data, out, epochs: int, stop_after: int | None = None) -> dict[str, torch.Tensor]:
    """A small network trained on the twelve pictures; ``stop_after`` interrupts it as Ctrl-C would."""
    names = category_names(data)
    torch.manual_seed(0)
    net, lines = BcosVgg(len(names), ((8,), (8,))), []

    def measure(net: torch.nn.Module, size: int) -> str:
        if stop_after is not None and len(lines) >= stop_after:
            raise KeyboardInterrupt
        return "measured"

    groups = [{"params": list(net.parameters()), "lr": 0.01}]
    pictures = read_crops(data, "train", names)
    fit(net, groups, pictures, [Phase(16, epochs)], 4, 1, out, measure, compiled=False, say=lines.append)
    assert any("measured" in line for line in lines)
    return net.state_dict()


def test_interrupted_training_resumes_to_the_same_weights(data, tmp_path):
    whole = train(data, tmp_path / "whole", epochs=4)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "parts", epochs=4, stop_after=2)
    resumed = train(data, tmp_path / "parts", epochs=4)
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value, msg=key)


def test_training_learns(data, tmp_path):
    names = category_names(data)
    pictures = read_crops(data, "train", names)
    net = BcosVgg(len(names), ((8,), (8,)))
    net.load_state_dict(train(data, tmp_path, epochs=20))
    rgb = torch.from_numpy(np.stack([squash(picture, 16) for picture in pictures])).float() / 255
    with torch.no_grad():
        logits = net.eval()(add_inverse(rgb))
    assert top1(logits, pictures) == 1
