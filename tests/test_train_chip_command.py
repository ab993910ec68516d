"""``showcause train chip``: what it writes, what it keeps, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

from showcause import cli
from showcause.channels import LayerWeights, read_distilled, write_distilled
from showcause.client.calls import explain_request
from showcause.manifest import read_manifest
from showcause.model import load
from showcause.worker import Call, explain
from tests.labelled_folder import write_photos
from tests.sameness import opened
from tests.small_models import write_plain_model

METHODS = ("chip", "refined_chip", "guided_chip")
LABELS = ("north", "east", "west")
FIRST, LAST = "features.0", "features.11"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("data") / "photos", LABELS, 6)


@pytest.fixture
def folder(tmp_path):
    return write_plain_model(tmp_path / "store" / "small", "plain_alexnet", METHODS, 48, head="pooled", width=2)


@pytest.fixture
def run(folder, data, tmp_path, capsys):
    def run(*arguments: str, layers: str = LAST, where: object = data) -> tuple[int, str, str]:
        fixed = ["--model", "small", "--model-store", str(folder.parent), "--data", str(where), "--layers", layers]
        try:
            code = cli.main(["train", "chip", *fixed, "--images", "4", "--gates", "16", "--out", str(tmp_path / "out"),
                             *arguments])  # fmt: skip
        except SystemExit as stopped:
            code = stopped.code
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_it_writes_weights_report_and_pictures(run, folder, tmp_path, photo):
    code, output, _ = run(layers=f"{LAST},{FIRST}")
    assert code == 0
    manifest = read_manifest(folder)
    found = read_distilled(manifest)
    assert list(found) == [FIRST, LAST], "in the order in which they run"
    assert {one.classes for one in found.values()} == {(0, 1, 3)}, "the classes that there are photos of"
    assert all(np.abs(one.weights).max() > 0 for one in found.values())
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in output
    for text in ("| features.0 | 2 | 16 | from the layer on |", "| features.11 | 8 | 16 | closed form |", "| east |"):
        assert text in table
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["chip_sha256"] == manifest.chip_sha256
    assert results["settings"]["gates"] == 16
    assert all(fit["kkt"] < 1e-8 for layer in results["layers"] for fit in layer["fits"])
    for layer in (FIRST, LAST):
        assert found[layer].about["fits"] == next(one["fits"] for one in results["layers"] if one["layer"] == layer)
        for kind in ("channels", "overlap"):
            with Image.open(tmp_path / "out" / f"{layer}-{kind}.png") as picture:
                assert min(picture.size) > 50
    reply = explain(
        load(folder), [Call("explain", explain_request(photo, methods=METHODS, target="east").SerializeToString())]
    )
    assert [one.method for one in opened(reply[0]).explanations] == list(METHODS)


def test_layers_that_were_distilled_before_stay(run, folder):
    assert run(layers=FIRST)[0] == 0
    before = read_distilled(read_manifest(folder))[FIRST].weights
    code, _, error = run(layers=LAST)
    assert (code, "other layers" in error) == (1, True), "the checkpoint in --out is another call's"
    assert run("--out", str(folder.parent.parent / "second"), "--classes", "west", "east")[0] == 0
    found = read_distilled(read_manifest(folder))
    assert list(found) == [FIRST, LAST]
    np.testing.assert_array_equal(found[FIRST].weights, before)
    assert found[LAST].classes == (1, 3)


def test_another_lambda_replaces_the_layer_from_the_checkpoint(run, folder):
    run()
    dense = read_distilled(read_manifest(folder))[LAST].weights
    code, output, _ = run("--lambda", "0.5")
    assert code == 0
    assert "going on after 15 of 15 photos" in output
    sparse = read_distilled(read_manifest(folder))[LAST].weights
    assert np.count_nonzero(sparse) < np.count_nonzero(dense)
    assert run("--absolute-lambda", "1e9")[0] == 0
    assert not read_distilled(read_manifest(folder))[LAST].weights.any()


def test_weights_of_another_network_are_replaced(run, folder):
    """What lies there cannot be read any more, and keeps nobody from distilling anew."""
    manifest = read_manifest(folder)
    stale = LayerWeights(FIRST, (0,), np.ones((1, 2), np.float32))
    write_distilled(manifest, [stale])
    manifest.chip_path.write_bytes(manifest.chip_path.read_bytes().replace(b"weights_sha256", b"weights_sha257"))
    code, output, _ = run()
    assert code == 0
    assert "what was there is replaced" in output
    assert list(read_distilled(manifest)) == [LAST]


def test_methods_that_the_model_does_not_name_are_told(run, folder):
    toml = folder / "model.toml"
    toml.write_text(toml.read_text().replace('methods = ["chip", "refined_chip", "guided_chip"]', 'methods = ["chip"]'))
    assert f"answered with refined_chip, guided_chip, add them to methods in {toml}" in run()[1]


@pytest.mark.parametrize(
    ("layers", "arguments", "said"),
    [
        (
            "features.1l",
            [],
            "--layers: 'features.1l' is no layer of the network; allowed: features.1, features.11, features.10",
        ),
        (f"{LAST},", [], "--layers: '' is no layer"),
        ("classifier", [], "--layers: 'classifier' is no layer"),
        (LAST, ["--classes", "West"], "--classes 'West' is no class of the model; allowed: west"),
        (LAST, ["--classes", "south"], "--classes 'south' has no photos in --data; allowed: north, east, west"),
        (LAST, ["--model", "other"], "has no model 'other'; it has small"),
        ("avgpool", [], "--layers: 'avgpool' has a grid of one place; allowed: "),
        (
            LAST,
            ["--sigma2", "0.03"],
            "--sigma2 0.03: proximity to 8 channels (features.11) vanishes; allowed: 0 for "
            "the number of channels, or from 0.035",
        ),
        (f"{LAST},{FIRST}", ["--sigma2", "0.0087"], "--sigma2 0.0087: proximity to 8 channels"),
        (LAST, ["--sigma2", "1e-320"], "or from 0.035"),
        (LAST, ["--device", "nix"], "--device nix: "),
        (LAST, ["--device", "meta"], "--device meta: "),
        (LAST, ["--data", "/nowhere"], "--data /nowhere is no folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(run, folder, tmp_path, layers, arguments, said):
    code, _, error = run(*arguments, layers=layers)
    assert code == 1
    assert error.startswith("showcause train chip: ")
    assert said in error
    assert not (tmp_path / "out").exists()
    assert not (folder / "chip.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lambda", "1.5"], "'1.5' is not allowed; a number from 0 to 1"),
        (["--lambda", "nan"], "a number from 0 to 1"),
        (["--absolute-lambda", "-1"], "'-1' is not allowed; a number from 0"),
        (["--lambda", "0.1", "--absolute-lambda", "1"], "not allowed with"),
        (["--sigma2", "inf"], "a number from 0"),
        (["--images", "0"], "'0' is not allowed; a whole number from 1"),
        (["--gates", "1"], "a whole number from 2 to 65536"),
        (["--gates", "65537"], "'65537' is not allowed; a whole number from 2 to 65536"),
        (["--seed", "x"], "a whole number from 0"),
    ],
)
def test_flags_out_of_range(run, arguments, said):
    code, _, error = run(*arguments)
    assert code == 2
    assert said in error


def test_a_checkpoint_that_was_cut_off_is_refused(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.npz").write_bytes(b"PK\x03\x04")
    code, _, error = run()
    assert code == 1
    assert "checkpoint.npz is no checkpoint (BadZipFile: " in error
    assert "remove it" in error


def test_the_least_sigma2_that_is_allowed_distils(run, folder):
    assert run("--sigma2", "0.035")[0] == 0
    assert np.isfinite(read_distilled(read_manifest(folder))[LAST].weights).all()


def test_a_layer_that_runs_twice_is_refused(run, folder, monkeypatch):
    """No shipped network has one; an operator's may."""
    from showcause.train import gated

    def refuse(*_):
        raise gated.NotGated("act runs 2 times in one pass")

    monkeypatch.setattr(gated.Gated, "__init__", refuse)
    code, _, error = run()
    assert (code, error) == (1, "showcause train chip: act runs 2 times in one pass\n")
