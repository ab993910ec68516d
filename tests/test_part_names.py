"""parts.json: what is read, and what a broken one is told; and that it goes into the archive."""

import json
import subprocess
import sys
import zipfile

import pytest

from showcause.manifest import ManifestError, read_manifest, sha256_of
from showcause.model import load
from showcause.part_names import PartName, read_part_names
from tests.small_models import part_name, write_model, write_part_names, write_parts_model

LABELS = ("north", "east", "south", "west")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_parts_model(tmp_path_factory.mktemp("store") / "small-parts")


@pytest.fixture(autouse=True)
def no_names(folder):
    yield
    (folder / "parts.json").unlink(missing_ok=True)


def read(folder):
    return read_part_names(folder / "parts.json", "parts", 24, LABELS)


def test_names_are_read_by_filter(folder):
    assert read(folder) == {}
    write_part_names(folder, [part_name(4, "head", seen_on=120), part_name(2, "", agreement=0, test_agreement=1)])
    assert read(folder) == {4: PartName(4, "east", "head", 0.8, 0.7, 0.3), 2: PartName(2, "south", "", 0.0, 1.0, 0.3)}
    assert load(folder).part_names == read(folder)


@pytest.mark.parametrize(
    ("entry", "key", "allowed"),
    [
        (part_name(24, "head"), r"filters\[1\].filter is 24", "0 to 23"),
        (part_name(-1, "head"), r"filters\[1\].filter is -1", "0 to 23"),
        (part_name(4, "head") | {"filter": True}, r"filters\[1\].filter is True", "0 to 23"),
        (part_name(4, "head", category="unicorn"), r"filters\[1\].category is 'unicorn'", "labels.txt"),
        (part_name(4, "head", category=None), r"filters\[1\].category is None", "labels.txt"),
        (part_name(4, "two\nlines"), r"filters\[1\].name is 'two\\nlines'", "a line of text"),
        (part_name(4, "head", agreement=1.1), r"filters\[1\].agreement is 1.1", "from 0 to 1"),
        (part_name(4, "head", test_agreement=-0.1), r"filters\[1\].test_agreement is -0.1", "from 0 to 1"),
        (part_name(4, "head", test_chance=2), r"filters\[1\].test_chance is 2", "from 0 to 1"),
        (part_name(4, "head", agreement=float("nan")), r"filters\[1\].agreement is nan", "from 0 to 1"),
        (part_name(4, "head", agreement="high"), r"filters\[1\].agreement is 'high'", "from 0 to 1"),
        (part_name(3, "head"), r"filters\[1\].filter is 3", "each filter once"),
        (
            {"filter": 4},
            r"filters\[1\] is \{'filter': 4\}",
            "filter, category, name, agreement, test_agreement, test_chance",
        ),
        (
            "zebra head",
            r"filters\[1\] is 'zebra head'",
            "filter, category, name, agreement, test_agreement, test_chance",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_key(folder, entry, key, allowed):
    write_part_names(folder, [part_name(3, "tail"), entry])
    with pytest.raises(ManifestError, match=rf"parts.json: {key}.*; allowed: .*{allowed}"):
        read(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        (b"\xff", "is not JSON"),
        ("[]", "an object with the keys layer and filters"),
        ('{"layer": "parts"}', "an object with the keys layer and filters"),
        ('{"layer": "top", "filters": []}', "layer is 'top'; allowed: 'parts'"),
        ('{"layer": "parts", "filters": {}}', "filters is {}; allowed: a list"),
    ],
)
def test_files_that_are_no_part_names(folder, text, message):
    (folder / "parts.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ManifestError, match=f"parts.json.*{message}"):
        read(folder)


def test_names_of_another_network_are_refused(folder, tmp_path):
    """A category that the filter has not learned; and a network without parts."""
    write_part_names(folder, [part_name(4, "head", category="west")])
    with pytest.raises(ManifestError, match=r"parts.json: filter 4 is of category 'west'; allowed: 'east', which"):
        load(folder)
    bcos = write_model(tmp_path / "bcos", width=4)
    write_part_names(bcos, [])
    with pytest.raises(ManifestError, match=r"parts.json: network bcos_resnet18, with its options, has no parts"):
        load(bcos)


def test_the_archive_holds_the_names_and_the_manifest_their_digest(folder, tmp_path):
    assert read_manifest(folder).parts_sha256 == ""
    write_part_names(folder, [part_name(4, "head")])
    manifest = read_manifest(folder)
    assert manifest.parts_sha256 == sha256_of(folder / "parts.json")
    command = [sys.executable, "-m", "showcause.cli", "pack", folder.name, "--out", tmp_path]
    subprocess.run([*command, "--model-store", folder.parent], check=True, capture_output=True)
    with zipfile.ZipFile(tmp_path / f"{folder.name}.mar") as archive:
        assert json.loads(archive.read("parts.json"))["filters"] == [part_name(4, "head")]
        assert "interpretable.py" in archive.namelist()
