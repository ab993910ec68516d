"""Sheets of maps, to be looked at: a row a photo, a column a method. Drawn with Pillow alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from showcause import render
from showcause.reply import InputFrame, Rectangle

TILE_PX, GAP_PX, LINE_PX = 150, 6, 18
BOX_COLOR, TRUTH_COLOR = "#00c000", "#ffd000"


@dataclass(frozen=True)
class Column:
    """What one method makes of a photo. values: its map (h, w) over what the network saw. box: its weak box."""

    values: NDArray[np.floating]
    box: Rectangle | None = None


def row(
    photo: Image.Image, frame: InputFrame, columns: Sequence[Column], objects: Sequence[Rectangle] = ()
) -> list[Image.Image]:
    """The photo with its objects' boxes, and for each column the map over it, with the map's box."""
    ground = render.backdrop(photo)
    scale_x, scale_y = render.scale_of(frame, ground)

    def boxed(image: Image.Image, boxes: Sequence[Rectangle], color: str) -> Image.Image:
        canvas = image.copy()
        draw = ImageDraw.Draw(canvas)
        for box in boxes:
            edges = (box.x_min * scale_x, box.y_min * scale_y, box.x_max * scale_x - 1, box.y_max * scale_y - 1)
            draw.rectangle(edges, outline=color, width=max(2, canvas.width // 100))
        return canvas

    tiles = [boxed(ground, objects, TRUTH_COLOR)]
    for column in columns:
        over = render.overlay(np.asarray(column.values, np.float32), frame, ground)
        tiles.append(boxed(over, [column.box] if column.box else [], BOX_COLOR))
    return tiles


def sheet(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Rows of pictures under the columns' headings, each row under its title; pictures keep their aspect ratio."""
    font = ImageFont.load_default(LINE_PX * 0.7)
    step = TILE_PX + GAP_PX
    shrunk = [(title, [_shrunk(tile) for tile in tiles]) for title, tiles in rows]
    heights = [max(tile.height for tile in tiles) + LINE_PX + GAP_PX for _, tiles in shrunk]
    canvas = Image.new("RGB", (len(headings) * step + GAP_PX, LINE_PX + sum(heights) + GAP_PX), "white")
    draw = ImageDraw.Draw(canvas)
    for column, heading in enumerate(headings):
        draw.text((GAP_PX + column * step, 2), heading.replace("_", " "), fill="black", font=font)
    top = LINE_PX
    for (title, tiles), height in zip(shrunk, heights, strict=True):
        draw.text((GAP_PX, top + 1), title, fill="#606060", font=font)
        for column, tile in enumerate(tiles):
            canvas.paste(tile, (GAP_PX + column * step, top + LINE_PX))
        top += height
    return canvas


def _shrunk(tile: Image.Image) -> Image.Image:
    scale = TILE_PX / max(tile.size)
    return tile.convert("RGB").resize(
        (max(1, round(tile.width * scale)), max(1, round(tile.height * scale))), Image.Resampling.LANCZOS
    )


def whole_frame(width: int, height: int) -> InputFrame:
    """The frame of a picture that is the network's input itself."""
    return InputFrame(width, height, Rectangle(0.0, 0.0, float(width), float(height)), width, height, "none")
