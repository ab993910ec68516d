"""``showcause models list | show | remove``: what a store holds, and that removing removes nothing else."""

import io
import json
import os
import re
import shutil

import pytest

from showcause import cli, store


@pytest.fixture
def models(tmp_path, shipped):
    """A store with two models, a broken folder, and one without weights."""
    folder = tmp_path / "store"
    for name in ("first", "second", "empty", "light"):
        shutil.copytree(shipped, folder / name, ignore=shutil.ignore_patterns("*.mar"))
        text = (folder / name / "model.toml").read_text()
        (folder / name / "model.toml").write_text(text.replace('name = "animals-bcos"', f'name = "{name}"'))
    (folder / "empty/model.toml").write_text("name = ")
    (folder / "light/weights.safetensors").unlink()
    (folder / ".importing-x").mkdir()
    (folder / "__pycache__").mkdir()
    (folder / "notes.txt").write_text("no model")
    return folder


@pytest.fixture
def run(models, capsys):
    def run(*arguments: str, where: object = models):
        code = cli.main(["models", *arguments, "--model-store", str(where)])
        output = capsys.readouterr()
        return code, output.out + output.err

    return run


def test_list_shows_broken_folders_beside_the_others(run):
    code, output = run("list")
    assert code == 0
    lines = {line.split()[0]: line for line in output.splitlines()}
    assert set(lines) == {"model", "first", "second", "empty", "light"}
    assert "1.0" in lines["first"]
    assert re.search(r"\d+\.\d MB", lines["first"])
    assert "is not TOML" in lines["empty"]
    assert "has no weights.safetensors" in lines["light"]


def test_list_as_json(run):
    found = {model["name"]: model for model in json.loads(run("list", "--json")[1])}
    assert found["first"]["problem"] == ""
    assert found["first"]["classes"] == 30
    assert found["first"]["weights_bytes"] > 14e6
    assert "is not TOML" in found["empty"]["problem"]


def test_stores_that_are_empty_or_missing(run, tmp_path):
    (tmp_path / "none").mkdir()
    assert run("list", where=tmp_path / "none") == (0, f"{tmp_path / 'none'} has no models\n")
    code, output = run("list", where=tmp_path / "missing")
    assert code == 1
    assert f"--model-store {tmp_path / 'missing'} is no folder" in output


def test_two_folders_of_one_name_and_version_are_seen(run, models):
    text = (models / "second/model.toml").read_text().replace('name = "second"', 'name = "first"')
    (models / "second/model.toml").write_text(text)
    assert run("list")[1].count("two folders hold first 1.0") == 2
    (models / "second/model.toml").write_text(text.replace('version = "1.0"', 'version = "1.1"'))
    assert "two folders" not in run("list")[1]


def test_the_environment_names_the_store(models, monkeypatch, capsys):
    monkeypatch.setenv("SHOWCAUSE_MODEL_STORE", str(models))
    assert cli.main(["models", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4


def test_show(run, model):
    code, output = run("show", "first")
    assert code == 0
    for text in ("bcos_vgg", "128x128, squash", "antelope", "features.0", "Thirty animals and nothing else"):
        assert text in output
    found = json.loads(run("show", "first", "--json")[1])
    assert found["card"].startswith("# ")
    assert len(found["labels"]) == 30
    assert {name: tuple(shape) for name, shape in found["layers"].items()} == model.layers


def test_show_of_what_is_broken(run, models):
    assert "has no weights.safetensors" in run("show", "light")[1]
    with open(models / "first/weights.safetensors", "ab") as file:
        file.write(b"x")
    assert "and model.toml wants" in json.loads(run("show", "first", "--json")[1])["problem"]
    code, output = run("show", "empty")
    assert code == 1
    assert "is not TOML" in output
    code, output = run("show", "third")
    assert code == 1
    assert "has no model 'third'; it has empty, first, light, second" in output


def test_remove(run, models):
    code, output = run("remove", "first", "--yes")
    assert code == 0
    assert f"removed {models / 'first'}" in output
    assert sorted(path.name for path in models.iterdir() if path.is_dir() and path.name[0] not in "._") == [
        "empty", "light", "second",
    ]  # fmt: skip
    assert run("remove", "empty", "--yes")[0] == 0  # it has a model.toml


@pytest.mark.parametrize(("answer", "kept"), [("y\n", False), ("n\n", True), ("\n", True), ("no way\n", True)])
def test_remove_asks_on_a_terminal(run, models, monkeypatch, answer, kept):
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    code, output = run("remove", "first")
    assert f"remove {models / 'first'} (" in output
    assert (code == 1) == kept == (models / "first").exists()


def test_remove_without_a_terminal_needs_yes(run, models, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, output = run("remove", "first")
    assert code == 1
    assert "--yes" in output
    assert (models / "first").exists()


@pytest.mark.parametrize("name", ["..", ".", "", "../other", "/", ".importing-x", "notes.txt", "__pycache__"])
def test_remove_keeps_what_is_no_model(run, models, name):
    before = sorted(models.rglob("*"))
    assert run("remove", name, "--yes")[0] == 1
    assert sorted(models.rglob("*")) == before


def test_remove_follows_no_links(run, models, tmp_path):
    outside = models / "first"
    elsewhere = outside.rename(tmp_path / "elsewhere")
    os.symlink(elsewhere, models / "first")
    code, output = run("remove", "first", "--yes")
    assert code == 1
    assert f"is a link to {elsewhere}" in output
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("kept")
    os.symlink(tmp_path / "precious", models / "second/link")
    os.symlink(tmp_path / "precious/file", models / "second/file")
    assert run("remove", "second", "--yes")[0] == 0
    assert not (models / "second").exists()
    assert (tmp_path / "precious/file").read_text() == "kept"
    assert (elsewhere / "model.toml").exists()


def test_a_new_folder_is_seen_only_when_it_is_done(models):
    with store.new_folder(models, "third") as folder:
        (folder / "model.toml").write_text("")
        assert "third" not in [entry.name for entry in store.entries(models)]
        assert folder not in [path.parent for path in models.glob("*/model.toml")], "where a server looks"
    assert (models / "third/model.toml").exists()
    assert not [
        path for path in models.iterdir() if path.name.startswith(".importing-") and path.name != ".importing-x"
    ]
