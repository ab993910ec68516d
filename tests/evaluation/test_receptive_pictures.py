"""Pictures of filters: what is shown where, pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from showcause.evaluation.receptive_pictures import (
    GAP_PX,
    TILE_PX,
    TITLE_PX,
    Row,
    distribution,
    heat_picture,
    receptive_field,
    region,
    sheet,
    strongest_pictures,
)
from showcause.render import FOR

NEAREST = np.kron(np.eye(2), np.ones((4, 1)))  # 2 places -> 8 pixels
PHOTO = np.full((8, 8, 3), (200, 100, 60), np.uint8)


def test_strongest_pictures_are_those_it_fires_on():
    assert strongest_pictures(np.array([1, 0, 3, 3, 2.0]), 3) == [2, 3, 4]
    assert strongest_pictures(np.array([0, 0, 1.0]), 3) == [2]


def test_region_is_where_the_activation_is_above_a_share_of_its_peak():
    activation = np.array([[4.0, 0.9], [1, 0.9]])
    found = region(activation, NEAREST)
    assert found[:, :4].all()
    assert not found[:, 4:].any()
    assert region(activation, NEAREST, share=0.2).all()
    assert not region(np.zeros((2, 2)), NEAREST).any()


def test_the_patch_keeps_its_colours_and_the_rest_is_dark_and_grey():
    found = np.asarray(receptive_field(PHOTO, np.array([[0, 1.0], [0, 0]]), NEAREST))
    assert (found[:4, 4:] == PHOTO[:4, 4:]).all()
    rest = found[4:]
    assert (rest == 48).all(), "0.4 of the mean of 200, 100 and 60"


def test_distribution_is_the_mean_over_pictures_and_filters():
    maps = np.zeros((2, 2, 2, 2))  # pictures x filters
    maps[0, 0, 0, 0], maps[0, 1, 0, 0], maps[1, 0, 1, 1] = 1, 3, 2
    found = distribution(maps, NEAREST)
    assert found[0, 0] == 1
    assert found[7, 7] == 0.5
    assert found[0, 7] == 0
    assert not distribution(np.zeros((3, 2, 2)), NEAREST).any()


def test_heat_is_red_where_it_is_highest():
    found = np.asarray(heat_picture(PHOTO, distribution(np.array([[[1.0, 0], [0, 0]]]), NEAREST))).astype(float)
    grey = 120 * 0.6 + 76.5
    np.testing.assert_allclose(found[7, 7], grey, atol=0.5)
    np.testing.assert_allclose(found[0, 0], 0.15 * grey + 0.85 * FOR, atol=0.5)


def test_a_sheet_has_a_line_a_row():
    red, blue = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    found = sheet([Row("filter 1", [red, blue]), Row("filter 2", [blue])])
    line = TITLE_PX + TILE_PX + GAP_PX
    assert found.height == 2 * line + GAP_PX
    middle = TITLE_PX + TILE_PX // 2
    second = TILE_PX + 2 * GAP_PX + TILE_PX // 2
    assert found.getpixel((TILE_PX // 2, middle)) == (255, 0, 0)
    assert found.getpixel((second, middle)) == (0, 0, 255)
    assert found.getpixel((TILE_PX // 2, line + middle)) == (0, 0, 255)
    assert found.getpixel((second, line + middle)) == (255, 255, 255)
    assert np.asarray(found)[:TITLE_PX].min() < 128, "the title is written"
    with pytest.raises(ValueError, match="at least one"):
        sheet([])
