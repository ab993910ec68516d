"""Distilling a model: the same as one gate at a time, seeded, resumable to the same bits, in bounded memory."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from showcause.model import load
from showcause.nets.base import Tape
from showcause.reply import Rectangle
from showcause.train import distill as module
from showcause.train.chip import random_gates
from showcause.train.distill import CheckpointRefused, Settings, distill
from showcause.train.labelled_photos import DataRefused, Photo, choose_photos, find_photos
from tests.labelled_folder import write_photos
from tests.reference import chip as slow
from tests.small_models import write_plain_model

LAYERS = ["features.0", "features.6", "features.11"]
CLASSES = (0, 2, 3)
SETTINGS = Settings(images=4, gates=24, penalty=0.02, seed=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "small"
    return load(write_plain_model(folder, "plain_alexnet", head="pooled", width=2, size=48))


@pytest.fixture(scope="module")
def photos(tmp_path_factory, model):
    labels = model.manifest.labels
    folder = write_photos(tmp_path_factory.mktemp("data") / "photos", [labels[index] for index in CLASSES], 5)
    return choose_photos(find_photos(folder, labels), CLASSES, SETTINGS.images, SETTINGS.seed, labels)


def run(model, photos, checkpoint, layers=LAYERS, settings=SETTINGS, say=lambda _: None):
    return distill(model, layers, CLASSES, photos, settings, checkpoint, say)


@pytest.fixture(scope="module")
def whole(model, photos, tmp_path_factory):
    return run(model, photos, tmp_path_factory.mktemp("out") / "checkpoint.npz")


def by_hand(model, layer, photos, gates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a (S, K), f (S, C) and g (S, N, C), one gate at a time."""
    pooled, f, g = [], [], []
    for photo in photos:
        rgb = torch.from_numpy(photo.read(model.manifest.input))[None]
        forward = model.net.run(rgb, Tape(frozenset([layer])))
        pooled.append(forward.activations[layer][0].double().mean((1, 2)).numpy())
        f.append(forward.logits[0].double().sigmoid().numpy()[list(CLASSES)])
        rows = []
        for gate in torch.from_numpy(gates).float():
            tape = Tape(edits={layer: lambda out, gate=gate: out * gate[None, :, None, None]})
            rows.append(model.net.run(rgb, tape).logits[0].double().sigmoid().numpy()[list(CLASSES)])
        g.append(rows)
    return np.array(pooled), np.array(f), np.array(g)


@pytest.mark.parametrize("place", range(len(LAYERS)))
def test_the_weights_are_those_of_the_slow_way(model, photos, whole, place):
    found, layer = whole[place], LAYERS[place]
    channels = model.layers[layer][0]
    assert found.weights.layer == layer
    assert found.weights.classes == CLASSES
    sides = [random_gates(count, channels, (3, side, *layer.encode())) for side, count in enumerate((24, 4))]
    fitted, held = (by_hand(model, layer, some, gates) for some, gates in zip(photos, sides, strict=True))
    for row, fit in enumerate(found.fits):
        z, answers, shares = slow.rows(sides[0], fitted[0], fitted[1][:, row], fitted[2][:, :, row], channels)
        penalty = 0.02 * np.abs((z.T * shares) @ answers).max()
        assert fit.penalty == pytest.approx(penalty, rel=1e-4)
        wanted = slow.lasso(z, answers, shares, penalty)
        np.testing.assert_allclose(found.weights.weights[row], wanted, atol=1e-3 * np.abs(wanted).max())
        assert (fit.nonzero, fit.label) == (
            np.count_nonzero(found.weights.weights[row]),
            model.manifest.labels[CLASSES[row]],
        )
        assert fit.kkt < 1e-8
        varied = slow.r_squared(z, answers, shares, wanted)
        assert fit.r_squared_fitted == pytest.approx(varied, rel=0.01, abs=0.01)
        held_rows = slow.rows(sides[1], held[0], held[1][:, row], held[2][:, :, row], channels)
        assert fit.r_squared == pytest.approx(slow.r_squared(*held_rows, wanted), rel=0.02, abs=0.02)


def assert_equal(found, wanted) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.weights.weights, other.weights.weights)
        assert one.fits == other.fits


def test_a_layer_s_weights_do_not_depend_on_what_else_is_distilled(model, photos, whole, tmp_path):
    alone = run(model, photos, tmp_path / "checkpoint.npz", LAYERS[1:2])
    np.testing.assert_allclose(alone[0].weights.weights, whole[1].weights.weights, rtol=1e-5, atol=1e-7)


def test_other_seeds_other_weights(model, photos, whole, tmp_path):
    other = run(model, photos, tmp_path / "checkpoint.npz", settings=replace(SETTINGS, seed=4))
    assert np.abs(other[0].weights.weights - whole[0].weights.weights).max() > 0


class Stopped(Exception):
    pass


def stopped_after(monkeypatch, count):
    """Photos stop to be read after so many."""
    read, seen = Photo.read, []

    def counted(self, spec):
        seen.append(self)
        if len(seen) > count + 1:  # the first is the one that the ways are tried on
            raise Stopped
        return read(self, spec)

    monkeypatch.setattr(Photo, "read", counted)
    return seen


@pytest.mark.parametrize("count", [1, 7, 13])
def test_an_interrupted_call_goes_on_to_the_same_bits(model, photos, whole, tmp_path, monkeypatch, count):
    checkpoint, lines = tmp_path / "checkpoint.npz", []
    monkeypatch.setattr(module, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(module, "KEEP_SHARE", float("inf"))
    with monkeypatch.context() as patched:
        stopped_after(patched, count)
        with pytest.raises(Stopped):
            run(model, photos, checkpoint)
    with monkeypatch.context() as patched:
        seen = stopped_after(patched, 1000)
        assert_equal(run(model, photos, checkpoint, say=lines.append), whole)
        assert len(seen) == 1 + 15 - count, "what was done is not done again"
    assert f"going on after {count} of 15 photos" in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_another_lambda_needs_no_passes(model, photos, whole, tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.npz"
    run(model, photos, checkpoint)
    seen = stopped_after(monkeypatch, 1)
    sparser = run(model, photos, checkpoint, settings=replace(SETTINGS, penalty=0.5))
    for one, other in zip(sparser, whole, strict=True):
        assert sum(fit.nonzero for fit in one.fits) < sum(fit.nonzero for fit in other.fits)
    none = run(model, photos, checkpoint, settings=replace(SETTINGS, penalty=1e9, relative=False))
    assert all(fit.nonzero == 0 and fit.penalty == 1e9 for one in none for fit in one.fits)
    assert len(seen) == 2, "the photo that the ways are tried on, and no other"


def test_a_checkpoint_of_another_call_is_refused(model, photos, tmp_path):
    checkpoint = tmp_path / "checkpoint.npz"
    run(model, photos, checkpoint, LAYERS[2:])
    with pytest.raises(CheckpointRefused, match=r"checkpoint\.npz is of a call with other layers; remove it"):
        run(model, photos, checkpoint, LAYERS[1:])
    with pytest.raises(CheckpointRefused, match="other settings"):
        run(model, photos, checkpoint, LAYERS[2:], replace(SETTINGS, gates=25))
    with pytest.raises(CheckpointRefused, match="other photos"):
        run(model, (photos[0][1:], photos[1]), checkpoint, LAYERS[2:])
    switched = replace(model, manifest=replace(model.manifest, probability="softmax"))
    with pytest.raises(CheckpointRefused, match="other probability;"):
        run(switched, photos, checkpoint, LAYERS[2:])
    optioned = replace(model, manifest=replace(model.manifest, network_options={"head": "pooled"}))
    with pytest.raises(CheckpointRefused, match="other network;"):
        run(optioned, photos, checkpoint, LAYERS[2:])


def test_photos_are_known_by_their_content_and_region(model, photos, tmp_path):
    checkpoint, path = tmp_path / "checkpoint.npz", tmp_path / "one.png"

    def again(source=photos[1][0].path, region=None, lines=None):
        shutil.copy(source, path)
        held = [Photo(path, region, photos[1][0].label), *photos[1][1:]]
        run(model, (photos[0], held), checkpoint, LAYERS[2:], say=(lines if lines is not None else []).append)

    again()
    with pytest.raises(CheckpointRefused, match="other photos;"):
        again(source=photos[1][1].path)
    with pytest.raises(CheckpointRefused, match="other photos;"):
        again(region=Rectangle(0, 0, 20, 20))
    lines = []
    again(lines=lines)
    assert "going on after 15 of 15 photos" in lines[0], "touching a file changes nothing"
    checkpoint.unlink()
    again(region=Rectangle(0, 0, 20, 20))
    lines = []
    again(region=Rectangle(0, 0, 20, 20), lines=lines)
    assert "going on after 15 of 15 photos" in lines[0]


@pytest.mark.parametrize(
    "content", [b"", b"junk" * 100, b"PK\x03\x04 cut off", b"whole, but for its end", b"one array"]
)
def test_what_is_no_checkpoint_is_refused_by_name(model, photos, tmp_path, content):
    checkpoint = tmp_path / "checkpoint.npz"
    if content.startswith(b"whole"):
        run(model, photos, checkpoint, LAYERS[2:])
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    elif content.startswith(b"one"):
        with open(checkpoint, "wb") as file:
            np.save(file, np.zeros(3))
    else:
        checkpoint.write_bytes(content)
    with pytest.raises(CheckpointRefused, match=r"checkpoint\.npz is no checkpoint \(.+\); remove it"):
        run(model, photos, checkpoint, LAYERS[2:])


def test_a_photo_that_cannot_be_read_stops_it_by_name(model, photos, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(DataRefused, match=r"broken\.jpg"):
        run(model, (photos[0], [Photo(broken, None, 0)]), tmp_path / "checkpoint.npz", LAYERS[2:])
    with pytest.raises(DataRefused, match=r"gone\.jpg cannot be read"):
        run(model, (photos[0], [Photo(tmp_path / "gone.jpg", None, 0)]), tmp_path / "checkpoint.npz", LAYERS[2:])


def test_what_is_told_of_a_layer_is_json(whole):
    about = json.loads(json.dumps(whole[0].weights.about, allow_nan=False))
    assert about["settings"]["seed"] == 3
    assert [fit["label"] for fit in about["fits"]] == ["north", "south", "west"]


def test_the_default_number_of_gates_follows_the_channels():
    assert [Settings().gates_of(channels) for channels in (3, 64, 256, 512)] == [12, 256, 1024, 1024]
    assert Settings(gates=7).gates_of(512) == 7
