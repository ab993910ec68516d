"""The tolerances of 'the same', on numbers that can be checked by hand."""

import io
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from showcause.reply import Picture
from showcause.sameness import DIFFERS, SAME, Check, close, equal, picture, placed, step_of, within

MAP = np.array([[0.0, 2.0], [-4.0, 1.0]], np.float32)


@pytest.mark.parametrize(("off", "verdict"), [(0.0, SAME), (3.9e-4, SAME), (4.1e-4, DIFFERS), (1.2, DIFFERS)])
def test_numbers_are_the_same_within_1e_4_of_their_maximum(off, verdict):
    found = MAP.astype(float)
    found[1, 1] += off
    check = close("map", found, MAP)
    assert check.verdict == verdict
    assert check.largest == pytest.approx(off / 4, abs=1e-9)
    assert check.allowed == 1e-4
    assert (check.text == "") == (verdict == SAME)


def test_a_difference_is_said_in_words():
    changed = MAP + np.array([[0, 0], [0, 1.2]])
    assert close("map", changed, MAP).text == "differs by 0.3 of the maximum; allowed: 0.0001"
    assert close("map", MAP[:1], MAP).text == "of shape (1, 2) instead of (2, 2)"
    assert close("map", MAP * np.nan, MAP).text == "some values are not finite"


def test_where_all_is_zero_nothing_may_differ():
    zeros = np.zeros((2, 2), np.float32)
    assert close("map", zeros, zeros).verdict == SAME
    assert close("map", zeros + 1e-12, zeros).verdict == DIFFERS
    assert close("residual", [1e-7], [0.0], scale=0.01).verdict == SAME


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_values_that_are_not_finite_are_the_same_only_where_both_are(value):
    odd = np.array([1.0, value])
    assert close("map", odd, np.ones(2)).verdict == DIFFERS
    assert close("map", np.ones(2), odd).verdict == DIFFERS
    assert close("map", odd, odd).verdict == SAME


@pytest.mark.parametrize(("found", "wanted"), [([1e308], [-1e308]), ([1e308], [0.0]), ([3.4e38], [1e-45])])
def test_no_difference_is_too_large_for_json(found, wanted):
    check = close("logits", found, wanted)
    assert check.verdict == DIFFERS
    json.dumps(asdict(check), allow_nan=False)
    json.dumps(asdict(within("logits", math.nan, 1.0)), allow_nan=False)


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_numbers_that_were_sent_in_steps_may_round_to_the_next(dtype):
    """Two maps that differ by 1e-6 of their maximum, sent: at most a step apart, and two steps are too many."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=(200, 200)).astype(np.float32) * 3e-3
    other = one + np.float32(1e-6 * np.abs(one).max()) * rng.choice([-1, 1], one.shape).astype(np.float32)
    step = step_of(one, dtype)
    if dtype == "float16":
        first, second = (each.astype(np.float16).astype(np.float32) for each in (one, other))
    else:
        first, second = (np.rint((each - each.min()) / np.ptp(each) * 255) for each in (one, other))
        first, second = first / 255 * np.ptp(one) + one.min(), second / 255 * np.ptp(other) + other.min()
    assert np.abs(first - second).max() > 1e-4 * np.abs(one).max(), "without the step it would differ"
    assert close("map", second, first, step=step).verdict == SAME
    assert close("map", second + np.eye(200) * 2.5 * step, first, step=step).verdict == DIFFERS
    assert step_of(one, "float32") == 0


def test_steps_of_maps_that_no_float16_holds():
    assert step_of(np.array([1e30], np.float32), "float16") == 32
    assert step_of(np.zeros(4, np.float32), "float16") == pytest.approx(2.0**-24)


def png(pixels: np.ndarray, kind: str = "overlay") -> Picture:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    image.save(buffer, "PNG")
    return Picture(kind, buffer.getvalue(), image.width, image.height)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    ("count", "by", "verdict"), [(0, 0, SAME), (10000, 3, SAME), (10, 4, SAME), (10, 255, SAME), (11, 4, DIFFERS)]
)
def test_pictures_may_be_off_in_one_pixel_of_a_thousand(channels, count, by, verdict):
    pixels = np.zeros((100, 100, channels), np.uint8)
    changed = pixels.copy()
    changed.reshape(-1, channels)[:count, -1] = by  # the last channel of four is the opacity
    check = picture("overlay", png(changed), png(pixels))
    assert check.verdict == verdict
    assert check.largest == (count / 10000 if by > 3 else 0)


def test_pictures_that_are_none():
    whole = png(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    other = png(np.zeros((30, 20, 3), np.uint8))
    for data in (b"", whole.png[: len(whole.png) // 2], b"GIF89a" + whole.png, other.png):
        assert picture("overlay", Picture("overlay", data, 30, 20), whole).text == "no whole PNG of 30 x 20"
    assert picture("overlay", Picture("overlay", whole.png, 0, 0), whole).text == "0 x 0 instead of 30 x 20"


def test_places_and_facts():
    assert placed("box", (0, 0, 10, 10), (0, 3.4, 10, 10), 3.5).verdict == SAME
    assert placed("box", (0, 0, 10, 10), (0, 3.6, 10, 10), 3.5).text == "differs by 3.6 px; allowed: 3.5"
    assert placed("box", (1e308,), (-1e308,), 1.0).verdict == DIFFERS
    one, other = {"a": 1, "b": {"c": [2]}}, {"a": 1, "b": {"c": [3], "d": 4}}
    assert equal("facts", one, other) == Check(
        "facts", DIFFERS, "b.c is [2] instead of [3]; b.d is nothing instead of 4"
    )
    assert equal("facts", one, one) == Check("facts", SAME)
