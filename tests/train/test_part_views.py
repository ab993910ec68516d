"""Windows, and what is cached of them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from showcause.nets.interpretable import InterpretableCnn
from showcause.train.animals import Picture
from showcause.train.part_views import Window, cache, view, window


@pytest.fixture
def pictures(tmp_path) -> list[Picture]:
    found = []
    for number in range(5):
        array = np.random.default_rng(number).integers(0, 255, (60, 80, 3), np.uint8)
        Image.fromarray(array).save(tmp_path / f"{number}.png")
        found.append(Picture(tmp_path / f"{number}.png", (20.0, 10.0, 60.0, 50.0), frozenset([0])))
    return found


def small() -> InterpretableCnn:
    torch.manual_seed(0)
    return InterpretableCnn(2, [nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()], 4, 4)


def test_windows_stay_in_the_picture_and_vary(pictures):
    picture, rng = pictures[0], np.random.default_rng(0)
    assert window(picture, "object", (80, 60), rng) == Window(20, 10, 60, 50)
    whole = window(picture, "whole", (80, 60), rng)
    assert (whole.x0, whole.y0, whole.x1, whole.y1) == (0, 0, 80, 60)
    moved = [window(picture, "moved", (80, 60), rng) for _ in range(200)]
    assert all(0 <= w.x0 < w.x1 <= 80 and 0 <= w.y0 < w.y1 <= 60 for w in moved)
    centers = np.array([(w.x0 + w.x1) / 2 for w in moved])
    assert centers.min() < 34
    assert centers.max() > 46
    assert 60 < sum(w.flipped for w in moved) < 140


def test_a_view_shows_its_window():
    image = Image.new("RGB", (80, 60), "black")
    image.paste("white", (20, 10, 40, 50))  # the left half of the window
    shown = view(image, Window(20, 10, 60, 50), 8)
    assert shown.shape == (3, 8, 8)
    assert shown[:, :, :3].min() > 180  # the resize mixes in a little of what lies around
    assert shown[:, :, 5:].max() < 75
    mirrored = view(image, Window(20, 10, 60, 50, flipped=True), 8)
    np.testing.assert_array_equal(mirrored, shown[:, :, ::-1])


def test_what_is_cached_is_the_network_on_the_views(pictures, tmp_path):
    net, out = small(), tmp_path / "cache"
    made = cache(net, pictures, out, size=16, views=("object", "moved"))
    assert made.features.shape == (2, 5, 4, 8, 8)
    for number in (0, 1):
        for index, picture in enumerate(pictures):
            x0, y0, x1, y1, flipped = made.windows[number, index].tolist()
            shown = view(Image.open(picture.path), Window(x0, y0, x1, y1, bool(flipped)), 16)
            expected = net.lower(torch.from_numpy(shown)[None].float() / 255)[0]
            torch.testing.assert_close(made.batch(number, np.array([index]))[0], expected, rtol=0.05, atol=0.05)


def test_a_cache_is_made_once_and_anew_for_other_settings(pictures, tmp_path):
    net, out, said = small(), tmp_path / "cache", []
    first = np.array(cache(net, pictures, out, size=16, views=("object",)).features)
    made = (out / "features.npy").stat().st_mtime_ns
    np.testing.assert_array_equal(
        cache(net, pictures, out, size=16, views=("object",), say=said.append).features, first
    )
    assert (out / "features.npy").stat().st_mtime_ns == made
    assert cache(net, pictures, out, size=24, views=("object",)).features.shape[-1] == 12


def test_a_cache_of_other_layers_or_boxes_is_not_believed(pictures, tmp_path):
    out, net = tmp_path / "cache", small()
    first = cache(net, pictures, out, size=16, views=("object",))
    with torch.no_grad():
        net.features[0].weight.mul_(2)
    other = cache(net, pictures, out, size=16, views=("object",))
    assert other.digest != first.digest
    moved = [Picture(p.path, (0.0, 0.0, 30.0, 30.0), p.labels) for p in pictures]
    assert (cache(net, moved, out, size=16, views=("object",)).windows[0, :, 2] == 30).all()
