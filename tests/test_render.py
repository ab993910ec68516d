"""Pictures: the right places in the right colours."""

import io

import numpy as np
import pytest
from PIL import Image

from showcause import render
from showcause.image import InputSpec, frame_of
from showcause.reply import Rectangle

GREY = Image.new("RGB", (400, 200), (128, 128, 128))


def one_spot(value: float) -> np.ndarray:
    values = np.zeros((100, 100), np.float32)
    values[40:60, 20:30] = value
    return values


@pytest.mark.parametrize(("value", "channel"), [(1.0, 0), (-1.0, 2)])
def test_overlay_is_red_for_and_blue_against_at_the_right_place(value, channel):
    frame = frame_of(GREY.size, None, InputSpec(100, 100))
    picture = np.asarray(render.overlay(one_spot(value), frame, GREY)).astype(int)
    assert picture.shape == (200, 400, 3)
    inside, outside = picture[100, 100], picture[100, 300]
    assert inside[channel] > inside[2 - channel] + 80
    assert np.ptp(outside) <= 2, "no colour where the map is zero"


def test_overlay_dims_what_the_network_did_not_see():
    frame = frame_of(GREY.size, Rectangle(0, 0, 200, 200), InputSpec(100, 100))
    picture = np.asarray(render.overlay(one_spot(0), frame, GREY))
    assert picture[100, 300].max() < picture[100, 100].min() / 2


@pytest.mark.parametrize("preprocessing", ["center_crop", "letterbox"])
def test_overlay_of_other_preprocessings_keeps_the_photo_size(preprocessing):
    frame = frame_of(GREY.size, None, InputSpec(100, 100, preprocessing))
    picture = render.overlay(one_spot(1), frame, GREY)
    assert picture.size == GREY.size


def test_overlay_of_a_large_photo_is_bounded():
    photo = Image.new("RGB", (4000, 1000))
    frame = frame_of(photo.size, None, InputSpec(100, 100))
    assert render.overlay(one_spot(1), frame, render.backdrop(photo)).size == (1024, 256)


def test_heat_map_is_white_where_zero():
    picture = np.asarray(render.heat_map(one_spot(1), frame_of(GREY.size, None, InputSpec(100, 100))))
    assert (picture[0, 0] == 255).all()
    assert tuple(picture[50, 25]) == tuple(render.FOR)


def test_an_empty_map_can_be_drawn():
    frame = frame_of(GREY.size, None, InputSpec(100, 100))
    for kind, image in (
        ("heat_map", render.heat_map(one_spot(0), frame)),
        ("overlay", render.overlay(one_spot(0), frame, GREY)),
    ):
        picture = render.encoded(kind, image)
        assert Image.open(io.BytesIO(picture.png)).size == (picture.width, picture.height)


def test_smoothing_keeps_the_sum_and_the_centre():
    values = one_spot(1)
    blurred = render.smoothed(values, 0.01)
    assert blurred.sum() == pytest.approx(values.sum(), rel=1e-4)
    assert np.unravel_index(blurred.argmax(), blurred.shape)[0] in range(45, 55)
