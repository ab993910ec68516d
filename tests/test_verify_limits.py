"""What ``showcause verify`` says where it cannot tell, and to people."""

import shutil
import subprocess
import sys

import pytest

from showcause import cli
from showcause.model import load
from tests.reply_files import answered, differing, edited, saved, unchecked, verified


@pytest.fixture(scope="module")
def store(shipped):
    return shipped.parent


@pytest.fixture(scope="module")
def cnn(store):
    return load(store / "animals-cnn")


@pytest.fixture
def cat(tmp_path, photo):
    path = tmp_path / "cat.jpg"
    path.write_bytes(photo)
    return path


def test_what_a_reply_does_not_carry_is_said(model, store, cat, photo, tmp_path, capsys):
    path = saved(answered(model, photo, target="cat", map_dtype=None, pictures=["overlay"]), tmp_path)
    code, said = verified(capsys, path, cat, store)
    assert code == 0
    assert unchecked(said) == {"map of cat by linear_map": "the reply does not carry it"}
    (tmp_path / "cat.cat-linear_map.overlay.png").unlink()
    code, said = verified(capsys, path, cat, store)
    assert code == 0
    assert unchecked(said)["cat.cat-linear_map.overlay.png"] == "there is no such file beside the reply"
    assert cli.main(["verify", str(path), "--photo", str(cat), "--model-store", str(store)]) == 0
    shown = capsys.readouterr().out
    assert "map of cat by linear_map: not checked, the reply does not carry it" in shown
    assert "but for the 2 not checked" in shown


def test_what_cannot_be_verified(cnn, store, cat, photo, tmp_path, capsys):
    message = answered(cnn, photo)

    def obstacle(edit) -> str:
        code, said = verified(capsys, edited(saved(message, tmp_path), edit), cat, store)
        assert code == 2
        return said["obstacle"]

    has = "it has animals-bcos 1.0, animals-cnn 1.0, animals-parts 1.0"
    said = obstacle(lambda table: table["receipt"].update(model="zebras"))
    assert said == f"{store} has no model zebras 1.0; {has}"
    said = obstacle(lambda table: table["receipt"].update(version="0.9"))
    assert said == f"{store} has no model animals-cnn 0.9; {has}"
    said = obstacle(lambda table: table["receipt"]["methods"][0].update(method_version=2))
    assert said.endswith(" of version 2, and here it has 1")
    said = obstacle(lambda table: table["receipt"]["methods"][0].update(method={}))
    assert "computed by nothing of version 1" in said
    wrong = obstacle(lambda table: table["explanations"][0].update(target={"index": 10**9, "label": "cat"}))
    assert "targets[0].class_index: not allowed; got '1000000000'" in wrong
    wrong = obstacle(lambda table: table["explanations"][0].update(target={"index": 10**30, "label": "cat"}))
    assert "no request can be answered so" in wrong


def test_a_model_folder_that_is_broken_says_why(cnn, store, cat, photo, tmp_path, capsys):
    path, other = saved(answered(cnn, photo), tmp_path), tmp_path / "store"
    shutil.copytree(store / "animals-cnn", other / "animals-cnn")
    (other / "animals-cnn" / "labels.txt").unlink()
    code, said = verified(capsys, path, cat, other)
    assert code == 2
    assert "has no labels.txt" in said["obstacle"]
    assert "is no folder" in verified(capsys, path, cat, tmp_path / "nowhere")[1]["obstacle"]
    assert "nobody.jpg" in verified(capsys, path, tmp_path / "nobody.jpg", other)[1]["obstacle"]


def test_without_torch_it_says_what_to_install(cnn, store, cat, photo, tmp_path):
    path = saved(answered(cnn, photo), tmp_path)
    code = f"""
import sys
sys.modules["torch"] = None
from showcause import cli
sys.exit(cli.main(["verify", {str(path)!r}, "--photo", {str(cat)!r}, "--model-store", {str(store)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'showcause[worker]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert "photo" in done.stdout, "digests are compared all the same"


def test_people_see_a_table_and_what_differs(cnn, store, cat, photo, tmp_path, capsys):
    path = saved(answered(cnn, photo, target="cat"), tmp_path)
    asked = ["verify", str(path), "--photo", str(cat), "--model-store", str(store)]
    assert cli.main(asked) == 0
    shown = capsys.readouterr().out
    assert "largest difference" in shown
    assert "the same, all " in shown
    edited(path, lambda table: table["predictions"][0].update(label="cat\x1b[31m\n"))
    edited(path, lambda table: table["receipt"].update(device="cuda:0"))
    assert cli.main(asked) == 1
    shown = capsys.readouterr().out
    assert r"classes: cat\x1b[31m\n (" in shown
    assert "note: device was cuda:0, and is cpu here" in shown
    assert "differs: 1 of " in shown


def test_a_difference_that_is_known_counts_though_nothing_can_be_computed(cnn, store, cat, photo, tmp_path, capsys):
    path = saved(answered(cnn, photo, target="cat"), tmp_path)
    cat.write_bytes(b"no photo")
    code, said = verified(capsys, path, cat, store)
    assert code == 1
    assert list(differing(said)) == ["photo"]
    assert "input.image: the bytes cannot be decoded" in said["obstacle"]
