"""Photos with a class each: found, chosen and read; what is refused names the flag."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from showcause.image import InputSpec
from showcause.reply import Rectangle
from showcause.train.labelled_photos import DataRefused, Photo, choose_classes, choose_photos, find_photos
from tests.labelled_folder import write_photos

LABELS = ("north", "east", "south", "west")
SPEC = InputSpec(32, 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("data") / "photos", ("west", "north"), 12)


@pytest.fixture
def crops(tmp_path, folder):
    """The Animal-Part format: a category that the model does not have, and a split that is not for training."""
    rows = []
    for number, (split, category) in enumerate(
        [("train", "west"), ("train", "okapi"), ("test", "west"), ("train", "east"), ("train", "west")]
    ):
        shutil.copy(folder / "west" / f"{number:02}.png", tmp_path / f"{number}.png")
        box = {"box_x0": 8.0, "box_y0": 4.0, "box_x1": 40.0, "box_y1": 60.0}
        rows.append({"file": f"{number}.png", "split": split, "category": category} | box)
    with open(tmp_path / "crops.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_a_folder_for_each_class(folder):
    found = find_photos(folder, LABELS)
    assert list(found) == [0, 3], "in the labels' order, those that have any"
    assert [photo.path.name for photo in found[0]] == [f"{number:02}.png" for number in range(12)]
    assert {(photo.label, photo.region) for photo in found[3]} == {(3, None)}


def test_other_files_and_folders_are_left_alone(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    (tmp_path / "data" / "west" / "notes.txt").write_text("x")
    write_photos(tmp_path / "data", ("okapi", "West"), 1)
    found = find_photos(tmp_path / "data", LABELS)
    assert {index: len(photos) for index, photos in found.items()} == {0: 12, 3: 12}
    assert find_photos(tmp_path / "data", (*LABELS, "..", "a/b")) == found


def test_crops_are_seen_through_their_boxes(crops):
    found = find_photos(crops, LABELS)
    assert {index: [photo.path.name for photo in photos] for index, photos in found.items()} == {
        1: ["3.png"], 3: ["0.png", "4.png"]
    }  # fmt: skip
    photo = found[1][0]
    assert photo.region == Rectangle(8, 4, 40, 60)
    with Image.open(photo.path) as image:
        wanted = image.crop((8, 4, 40, 60)).resize((32, 24), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(photo.read(SPEC), np.asarray(wanted).transpose(2, 0, 1) / 255, atol=0.02)
    assert np.abs(photo.read(SPEC) - replace(photo, region=None).read(SPEC)).max() > 0.1


def test_the_choice_is_seeded_and_holds_out_others(folder):
    found = find_photos(folder, LABELS)
    fit, held = choose_photos(found, (0, 3), 8, 5, LABELS)
    assert (fit, held) == choose_photos(found, (0, 3), 8, 5, LABELS)
    assert fit != choose_photos(found, (0, 3), 8, 6, LABELS)[0]
    assert [photo.label for photo in fit] == [0] * 8 + [3] * 8
    assert [photo.label for photo in held] == [0, 3], "one for five"
    assert not set(fit) & set(held)
    assert fit[8:] == choose_photos(found, (3,), 8, 5, LABELS)[0], "whatever other classes there are"
    few, aside = choose_photos(found, (0,), 100, 0, LABELS)
    assert (len(few), len(aside)) == (10, 2), "fewer where there are fewer"
    two, one = choose_photos({0: found[0][:2]}, (0,), 8, 0, LABELS)
    assert (len(two), len(one)) == (1, 1)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["West"], "--classes 'West' is no class of the model; allowed: .*west"),
        (["north", "east"], "--classes 'east' has no photos in --data; allowed: north, west"),
    ],
)
def test_classes_that_cannot_be(folder, labels, said):
    with pytest.raises(DataRefused, match=said):
        choose_classes(find_photos(folder, LABELS), labels, LABELS)


def test_classes_come_in_the_labels_order(folder):
    found = find_photos(folder, LABELS)
    assert choose_classes(found, (), LABELS) == choose_classes(found, ("west", "north"), LABELS) == (0, 3)
    assert choose_classes(found, ("west",), LABELS) == (3,)


def test_data_that_cannot_be(folder, tmp_path):
    with pytest.raises(DataRefused, match="is no folder"):
        find_photos(tmp_path / "nowhere", LABELS)
    with pytest.raises(DataRefused, match=r"no photos of the model's classes; allowed: .* named up, down"):
        find_photos(folder, ("up", "down"))
    with pytest.raises(DataRefused, match="1 photo of 'north'; allowed: 2 or more"):
        choose_photos({0: find_photos(folder, LABELS)[0][:1]}, (0,), 8, 0, LABELS)
    (tmp_path / "crops.csv").write_text("file,split\na.png,train\n")
    with pytest.raises(DataRefused, match=r"crops\.csv is not as it should be: 'category'"):
        find_photos(tmp_path, LABELS)


def test_a_photo_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%PDF-1.4")
    for path in (tmp_path / "a.png", tmp_path / "gone.png"):
        with pytest.raises(DataRefused, match=f"--data: {path} cannot be read"):
            Photo(path, None, 0).read(SPEC)
