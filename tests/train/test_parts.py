"""Training over cached views, on features that are made by hand: each picture has one part, at a place of its own."""

import numpy as np
import pytest
import torch
from torch import nn

from showcause.layers.interpretable import SETTINGS
from showcause.nets.interpretable import InterpretableCnn
from showcause.train.part_views import Cache
from showcause.train.parts import NEGATIVE, Recipe, _draw, fit

N, PLACES, CHANNELS = 64, 7, 4
RECIPE = Recipe(steps=120, batch=16, rate_top=3e-3, rate_parts=1e-2, rate_head=3e-2, groups=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The networks are tiny: sharing their work out takes ten times longer than doing it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures() -> tuple[Cache, np.ndarray, np.ndarray]:
    """Views, labels and parts' places: channel c is bright where a picture of class c has its part. In the second view,
    whose window lies one place further to the right, everything is one place further to the left."""
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.1, (2, N, CHANNELS, PLACES, PLACES)).astype(np.float16)
    labels, places = np.arange(N) % 2, rng.integers(1, PLACES - 1, (N, 2))
    for i, (row, column) in enumerate(places):
        features[0, i, labels[i], row, column] = features[1, i, labels[i], row, column - 1] = 4
    windows = np.zeros((2, N, 5), np.float32)
    windows[0, :, :4], windows[1, :, :4] = (0, 0, 70, 70), (10, 0, 80, 70)
    return Cache(features, windows), labels, places


def small(classes: int = 2, **options) -> InterpretableCnn:
    torch.manual_seed(0)
    return InterpretableCnn(classes, [nn.Identity()], CHANNELS, 8, 4, **options)


def trained(pictures, recipe=RECIPE, out=None, **options) -> InterpretableCnn:
    net = small(**options)
    fit(net, pictures[0], pictures[1], recipe, out, say=lambda line: None)
    return net


@torch.no_grad()
def maps_of(net: InterpretableCnn, cache: Cache) -> torch.Tensor:
    return net.parts(net.top(torch.from_numpy(cache.features[0].astype(np.float32))))


def accuracy(net: InterpretableCnn, cache: Cache, labels: np.ndarray) -> float:
    logits = net.head(maps_of(net, cache)) + net.bias
    return float((logits.argmax(1).numpy() == labels).mean())


def test_filters_find_the_part_of_their_category(pictures):
    cache, labels, places = pictures
    net = trained(pictures)
    assert accuracy(net, cache, labels) > 0.95
    assert sorted(net.parts.category.tolist()) == [0, 0, 1, 1]
    maps = maps_of(net, cache).flatten(2)
    for k, category in enumerate(net.parts.category.tolist()):
        mine = labels == category
        found = np.stack(np.unravel_index(maps[:, k].argmax(1).numpy(), (PLACES, PLACES)), 1)
        near = np.abs(found - places)[mine].max(1) <= 1
        assert near.mean() > 0.9, f"filter {k}"
        assert maps[mine, k].amax(1).mean() > 4 * maps[~mine, k].amax(1).mean()


def test_the_twin_learns_the_classes_and_has_no_categories(pictures):
    net = trained(pictures, masked=False)
    assert accuracy(net, pictures[0], pictures[1]) > 0.95
    assert not hasattr(net.parts, "category")


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_trains_without_nan_and_learns_categories(pictures, setting):
    net = trained(pictures, setting=setting)
    assert all(value.isfinite().all() for value in net.state_dict().values())
    assert set(net.parts.category.tolist()) <= {0, 1}
    assert (net.top.masked, hasattr(net.top, "category")) == ((False, False) if setting == "tracked" else (True, True))


def test_the_filter_loss_changes_what_is_learned(pictures):
    with_loss, without = trained(pictures), trained(pictures, Recipe(**{**RECIPE.__dict__, "strength": 0.0}))
    assert not torch.allclose(with_loss.parts.conv.weight, without.parts.conv.weight, atol=1e-2)


def test_an_interrupted_training_goes_on_to_the_same_end(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("showcause.train.parts.KEEP_EVERY", 50)
    whole = trained(pictures)
    calls = 0

    def interrupt(line: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:  # after step 100, two checkpoints in
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(small(), pictures[0], pictures[1], RECIPE, tmp_path, interrupt)
    lines: list[str] = []
    net = small()
    fit(net, pictures[0], pictures[1], RECIPE, tmp_path, lines.append)
    assert lines[0].startswith("resuming after step 100")
    for key, value in whole.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key


def test_one_category_against_the_rest(pictures):
    cache, labels, _ = pictures
    net = small(classes=1)
    fit(net, cache, np.where(labels == 0, 0, NEGATIVE), RECIPE, say=lambda line: None)
    logits = (net.head(maps_of(net, cache)) + net.bias)[:, 0]
    assert ((logits > 0).numpy() == (labels == 0)).mean() > 0.95
    assert net.parts.category.tolist() == [0] * 4


def test_batches_hold_every_category_alike_and_half_of_none_where_there_are_such():
    rng = np.random.default_rng(0)
    labels = np.array([0] * 90 + [1] * 6 + [2] * 4)
    assert np.bincount(labels[_draw(labels, 30, rng)]).tolist() == [10, 10, 10]
    labels = np.array([0] * 5 + [NEGATIVE] * 95)
    assert (labels[_draw(labels, 20, rng)] == 0).sum() == 10


def test_the_same_point_has_the_same_numbers_in_every_view(pictures):
    cache = pictures[0]
    some = np.array([0, 1])
    first = cache.in_picture(torch.tensor([[[2.0, 3.0]], [[4.0, 1.0]]]), 0, some, PLACES)
    second = cache.in_picture(torch.tensor([[[2.0, 2.0]], [[4.0, 0.0]]]), 1, some, PLACES)
    torch.testing.assert_close(first, second)
    flipped = Cache(cache.features, cache.windows.copy())
    flipped.windows[1, :, 4] = 1  # left and right exchanged: column 2 becomes 6 - 2
    mirrored = flipped.in_picture(torch.tensor([[[2.0, 4.0]], [[4.0, 6.0]]]), 1, some, PLACES)
    torch.testing.assert_close(first, mirrored)
