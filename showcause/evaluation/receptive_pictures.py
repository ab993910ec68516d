"""Pictures of what filters stand for, drawn with Pillow alone.

Receptive-field pictures (Zhou and others: ICLR 2015): of the pictures that a filter fires most strongly on, the patch
where its activation, scaled up, is high. Distributions (Zhang, Wu, Zhu: figures 5 and 6): where activations fall, on
the average of many pictures or of many filters. Photos are (frame, frame, 3) uint8, maps (..., n, n), ``weights``
(frame, n) from ``up_scaling``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from showcause.evaluation.location import SILENT
from showcause.evaluation.scaling import scaled_up
from showcause.render import FOR

Floats = NDArray[np.floating]
Photo = NDArray[np.uint8]
SHOWN = 0.25  # of the peak: above it, activation belongs to the part
DIM = 0.4  # brightness of what does not
TILE_PX, GAP_PX, TITLE_PX = 112, 4, 18


def strongest_pictures(scores: Floats, count: int) -> list[int]:
    """Rows of the (at most ``count``) pictures that a filter fires most strongly on: (S,) -> indices."""
    order = np.argsort(-scores, kind="stable")[:count]
    return [int(row) for row in order if scores[row] > SILENT]


def region(activation: Floats, weights: Floats, share: float = SHOWN) -> NDArray[np.bool_]:
    """Where a map (n, n), scaled up, reaches ``share`` of its peak: (frame, frame); nowhere for an empty map."""
    up = scaled_up(activation, weights)
    return (up >= share * activation.max()) & (up > SILENT)


def receptive_field(photo: Photo, activation: Floats, weights: Floats, share: float = SHOWN) -> Image.Image:
    """The photo, grey and dark outside the filter's region."""
    inside = region(activation, weights, share)[..., None]
    return Image.fromarray(np.where(inside, photo, photo.mean(-1, keepdims=True) * DIM).astype(np.uint8))


def distribution(maps: Floats, weights: Floats) -> Floats:
    """The mean of maps, scaled up, 1 at its highest: (..., n, n) -> (frame, frame); 0 where nothing fires."""
    mean = scaled_up(maps.reshape(-1, *maps.shape[-2:]).mean(0), weights)
    return mean / max(float(mean.max()), SILENT)


def heat_picture(photo: Photo, heat: Floats) -> Image.Image:
    """A distribution in 0..1 (frame, frame) over a photo: grey where it is 0, red where it is 1."""
    grey = photo.mean(-1, keepdims=True) * 0.6 + 255 * 0.3
    level = 0.85 * heat[..., None]
    return Image.fromarray(np.rint(grey * (1 - level) + FOR * level).astype(np.uint8))


@dataclass(frozen=True)
class Row:
    """One line of a sheet: what it shows, and its pictures, which are shrunk to tiles."""

    title: str
    pictures: Sequence[Image.Image]


def sheet(rows: Sequence[Row]) -> Image.Image:
    """All rows below each other, each under its title."""
    if not rows:
        raise ValueError("a sheet needs at least one row")
    font = ImageFont.load_default(TITLE_PX * 0.7)
    most = max(len(row.pictures) for row in rows)
    width = max(most * (TILE_PX + GAP_PX), *(int(font.getlength(row.title)) for row in rows)) + GAP_PX
    height = TITLE_PX + TILE_PX + GAP_PX
    canvas = Image.new("RGB", (width, len(rows) * height + GAP_PX), "white")
    draw = ImageDraw.Draw(canvas)
    for line, row in enumerate(rows):
        draw.text((GAP_PX, line * height + 1), row.title, fill="black", font=font)
        for column, picture in enumerate(row.pictures):
            tile = picture.resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
            canvas.paste(tile, (GAP_PX + column * (TILE_PX + GAP_PX), line * height + TITLE_PX))
    return canvas
