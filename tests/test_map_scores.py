"""maps.json: written, read, and refused naming the place."""

import json

import pytest

from showcause.manifest import ManifestError
from showcause.map_scores import MapScores, read_map_scores, write_map_scores
from showcause.reply import TestScore

SCORE = {"measure": "localization_accuracy", "value": 0.5, "control_value": 0.6, "photo_count": 857}


def test_what_is_written_is_read(tmp_path):
    found = {"cam": MapScores(0.15, (TestScore(**SCORE),)), "grad_cam": MapScores(0.0, ())}
    write_map_scores(tmp_path / "maps.json", found)
    assert read_map_scores(tmp_path / "maps.json") == found
    assert read_map_scores(tmp_path / "other.json") == {}


def refusal(path, content: str) -> str:
    path.write_text(content)
    with pytest.raises(ManifestError) as caught:
        read_map_scores(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def cam(**changes: object) -> str:
    return json.dumps({"methods": {"cam": {"threshold": 0.5, "scores": [SCORE]} | changes}})


NO_NUMBERS = ["1", None, True, [0.5], 10**400, -(10**400), float("nan"), float("inf")]


@pytest.mark.parametrize(
    ("key", "values", "allowed"),
    [
        ("value", NO_NUMBERS, "a finite number"),
        ("control_value", NO_NUMBERS, "a finite number"),
        ("photo_count", [*NO_NUMBERS, 0, -1, 1.5, 2.0, 2**31, 99999999999], "a whole number from 1 to 2147483647"),
        ("measure", [3, None, True, "", [], "two\nlines", "\ud800"], "a line of text that is not empty"),
    ],
)
def test_a_score_s_values_are_checked(tmp_path, key, values, allowed):
    for value in values:
        said = refusal(tmp_path / "maps.json", cam(scores=[SCORE, SCORE | {key: value}]))
        assert f"methods.cam.scores[1].{key} is " in said, value
        assert said.endswith(f"; allowed: {allowed}"), value


def test_thresholds_are_checked(tmp_path):
    for value in [*NO_NUMBERS, "0.5", -0.1, 1, 1.0]:
        said = refusal(tmp_path / "maps.json", cam(threshold=value))
        assert "methods.cam.threshold is " in said, value
        assert said.endswith("; allowed: a number from 0, below 1"), value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "RecursionError"),
        ('{"methods": ' + "[" * 800 + "]" * 800 + "}", "allowed: an object with the key methods"),
        ("7", "it is 7; allowed: an object with the key methods"),
        ('{"methods": []}', "allowed: an object with the key methods, an object"),
        ('{"methods": {"lime": 1}}', "methods.lime is no method; allowed: linear_map, "),
        ('{"methods": {"cam": []}}', "methods.cam is []; allowed: an object with the keys threshold, scores"),
        (cam(scores={}), "methods.cam.scores is {}; allowed: a list"),
        (cam(scores=[7]), "methods.cam.scores[0] is 7; allowed: an object with the keys measure, value"),
        (cam(scores=[SCORE | {"x": 1}]), "methods.cam.scores[0] is {"),
    ],
)
def test_another_shape_is_refused(tmp_path, content, said):
    assert said in refusal(tmp_path / "maps.json", content)


def test_a_folder_of_that_name_is_refused(tmp_path):
    (tmp_path / "maps.json").mkdir()
    with pytest.raises(ManifestError, match=r"maps\.json: IsADirectoryError"):
        read_map_scores(tmp_path / "maps.json")
