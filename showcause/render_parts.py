"""Parts -> pictures: numbered outlines on the photo, a line for each below; and a tile for each. Imports no torch."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from showcause.outline import Located
from showcause.render import DIM, dimmed, scale_of
from showcause.reply import InputFrame, Part, Rectangle

MOST_DRAWN = 32  # parts in one picture
TILE_PX, MARGIN_PX, LINE_PX, TEXT_PX = 240, 10, 30, 18
TILE_PIXELS = (TILE_PX + MARGIN_PX) * (TILE_PX + 2 * LINE_PX + MARGIN_PX)  # of one tile with what is around it
LEAST_SIDE_PX = 768  # of the photo's longest side below which outlines and numbers would hide it
SMOOTH = 2  # outlines are drawn so many times as large, and shrunk
TILE_SHARE = 0.55  # of a tile's side that the part's box takes, where the photo is large enough
# Told apart by colour-blind people, too (Okabe and Ito, 2008), those that stand out most in photos first.
COLORS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
PAPER, INK, HALO = "#FFFFFF", "#1A1A1A", "#000000"
NOTHING = "no part was found"
LONGEST_TEXT = 200  # characters of a label that are tried


def overlay(parts: Sequence[Located], frame: InputFrame, ground: Image.Image) -> Image.Image:
    """The parts' outlines on the photo, numbered, strongest on top; what the network did not see is dimmed.

    ground: from ``render.backdrop``.
    """
    parts = parts[:MOST_DRAWN]
    photo = dimmed(ground, frame)
    enlarged = max(1.0, LEAST_SIDE_PX / max(photo.size))
    photo = photo.resize((round(photo.width * enlarged), round(photo.height * enlarged)), Image.Resampling.BICUBIC)
    scale = scale_of(frame, photo)
    _draw_outlines(photo, [located.part for located in parts], scale)
    _draw_numbers(photo, [located.part for located in parts], scale)
    lines = [(number, _legend(located.part)) for number, located in enumerate(parts)]
    width = max([photo.width, *(_text_width(text) + LINE_PX + 3 * MARGIN_PX for _, text in lines)])
    canvas = Image.new("RGB", (width, photo.height + LINE_PX * max(1, len(lines)) + 2 * MARGIN_PX), PAPER)
    canvas.paste(photo, ((width - photo.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for number, text in lines:
        y = photo.height + MARGIN_PX + LINE_PX * number + LINE_PX // 2
        _badge(draw, (MARGIN_PX + LINE_PX // 2, y), number)
        draw.text((2 * MARGIN_PX + LINE_PX, y), text, INK, _font(TEXT_PX), anchor="lm")
    if not lines:
        draw.text((MARGIN_PX, photo.height + MARGIN_PX + LINE_PX // 2), NOTHING, INK, _font(TEXT_PX), anchor="lm")
    return canvas


def tiles(parts: Sequence[Located], frame: InputFrame, ground: Image.Image) -> Image.Image:
    """A tile for each part: the photo around it, bright where the filter responded, its number, name and share."""
    parts = parts[:MOST_DRAWN]
    columns = max(1, min(5, len(parts)))
    rows = max(1, math.ceil(len(parts) / columns))
    wide, high = TILE_PX + MARGIN_PX, TILE_PX + 2 * LINE_PX + MARGIN_PX
    canvas = Image.new("RGB", (columns * wide + MARGIN_PX, rows * high + MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(canvas)
    if not parts:
        middle = (canvas.width // 2, canvas.height // 2)
        draw.text(middle, NOTHING, INK, _font(TEXT_PX), anchor="mm")
    for number, located in enumerate(parts):
        x, y = MARGIN_PX + number % columns * wide, MARGIN_PX + number // columns * high
        canvas.paste(_tile(located, number, frame, ground), (x, y))
        _badge(draw, (x + LINE_PX // 2 + 4, y + LINE_PX // 2 + 4), number)
        name, share = _shortened(_called(located.part), TILE_PX), _share(located.part)
        draw.text((x, y + TILE_PX + LINE_PX // 2 + 4), name, INK, _font(TEXT_PX), anchor="lm")
        draw.text((x, y + TILE_PX + LINE_PX + LINE_PX // 2), share, INK, _font(TEXT_PX - 2), anchor="lm")
    return canvas


def _tile(located: Located, number: int, frame: InputFrame, ground: Image.Image) -> Image.Image:
    """The square of the photo around a part: in full light where the filter responded, muted elsewhere."""
    part, (scale_x, scale_y) = located.part, scale_of(frame, ground)
    width, height = ground.width / scale_x, ground.height / scale_y
    square = _square(part.box, min(width, height))
    # As far as it goes, the square lies inside the photo.
    x = float(np.clip(square.x_min, 0, max(0.0, width - square.width)))
    y = float(np.clip(square.y_min, 0, max(0.0, height - square.height)))
    box = (
        x * scale_x,
        y * scale_y,
        min(ground.width, (x + square.width) * scale_x),
        min(ground.height, (y + square.height) * scale_y),
    )
    pixels = np.asarray(ground.resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC, box), dtype=np.float32)
    at = (np.arange(TILE_PX) + 0.5) / TILE_PX * square.width
    strength = np.clip(located.grid.values(located.map, x + at, y + at) / (part.activation or 1.0), 0, 1)[..., None]
    muted = pixels.mean(-1, keepdims=True) * DIM + 255 * 0.08
    light = np.clip(2 * strength, 0, 1)  # all of it from the outline inwards
    tile = Image.fromarray(np.rint(pixels * light + muted * (1 - light)).clip(0, 255).astype(np.uint8))
    step = TILE_PX / square.width
    _draw_outlines(tile, [part], (step, step), (x, y), first=number)
    return tile


def _square(box: Rectangle, most: float) -> Rectangle:
    """A square around a box with its surroundings; ``most``: its longest side, in photo pixels."""
    side = min(max(box.width, box.height, most / 12) / TILE_SHARE, most)
    x, y = (box.x_min + box.x_max - side) / 2, (box.y_min + box.y_max - side) / 2
    return Rectangle(x, y, x + side, y + side)


def _draw_outlines(
    image: Image.Image,
    parts: Sequence[Part],
    scale: tuple[float, float],
    origin: tuple[float, float] = (0.0, 0.0),
    first: int = 0,
) -> None:
    """Outlines with a dark rim, onto ``image``; scale: its pixels for the photo's. first: number of the first."""
    width = max(2, round(max(image.size) / 220)) * SMOOTH
    drawn = [
        (number, np.array([((x - origin[0]) * scale[0], (y - origin[1]) * scale[1]) for x, y in polygon]))
        for number, part in enumerate(parts, start=first)
        for polygon in part.outlines
    ]
    if not drawn:
        return
    # What lies around the outlines is enough.
    every = np.concatenate([points for _, points in drawn])
    left, top = np.maximum(np.floor(every.min(0)).astype(int) - width, 0).tolist()
    right, bottom = np.minimum(np.ceil(every.max(0)).astype(int) + width, image.size).tolist()
    layer = Image.new("RGBA", (max(1, right - left) * SMOOTH, max(1, bottom - top) * SMOOTH))
    draw = ImageDraw.Draw(layer)
    for number, points in reversed(drawn):
        line = [(x, y) for x, y in ((points - (left, top)) * SMOOTH).tolist()]
        closed = [*line, *line[:2]]  # the second again, for a joint where the ends meet
        draw.line(closed, HALO, width + 2 * SMOOTH, joint="curve")
        draw.line(closed, _color(number), width, joint="curve")
    layer = layer.reduce(SMOOTH)
    image.paste(layer, (left, top), layer)


def _draw_numbers(image: Image.Image, parts: Sequence[Part], scale: tuple[float, float]) -> None:
    """A number beside each part, with a line to it: as near as it can be without hiding a part or another number."""
    draw, edge = ImageDraw.Draw(image), LINE_PX / 2 + 1
    outlines = [
        np.array([point for polygon in part.outlines for point in polygon] or [part.center]) * scale for part in parts
    ]
    steps, turns = np.meshgrid(np.arange(1, 8), np.arange(16) / 16 * math.tau)
    around = LINE_PX * np.stack([steps * np.sin(turns), -steps * np.cos(turns)], -1).reshape(-1, 2)
    most = np.maximum(edge, np.array(image.size) - edge)
    taken: list[tuple[float, float]] = []
    for number, part in enumerate(parts):
        places = np.clip(np.array(part.center) * scale + around, edge, most)
        free = _distances(places, np.concatenate(outlines)).min(1) / LINE_PX
        room = _distances(places, np.array(taken)).min(1) / LINE_PX if taken else np.full(len(places), 9.0)
        best = places[np.argmax(np.minimum(room, 1.1) + np.minimum(free, 0.8) - 0.02 * steps.ravel())]
        nearest = outlines[number][np.argmin(_distances(best[None], outlines[number]))]
        place = (float(best[0]), float(best[1]))
        taken.append(place)
        draw.line([place, tuple(nearest.tolist())], HALO, 4)
        draw.line([place, tuple(nearest.tolist())], _color(number), 2)
    for number, place in enumerate(taken):
        _badge(draw, place, number)


def _distances(points: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    """(k, 2) and (m, 2) -> (k, m)."""
    return np.linalg.norm(points[:, None] - others, axis=-1)


def _badge(draw: ImageDraw.ImageDraw, center: tuple[float, float], number: int) -> None:
    """A disc in the part's colour with its number, which people count from 1."""
    draw.circle(center, LINE_PX / 2 - 3, _color(number), HALO, 2)
    dark = _color(number) in ("#0072B2", "#D55E00")
    draw.text(center, str(number + 1), PAPER if dark else INK, _font(TEXT_PX - 3), anchor="mm")


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _legend(part: Part) -> str:
    known = f"{part}, filter {part.filter}" if part.name else _called(part)
    return f"{_shortened(known, 2 * TILE_PX)}   {_share(part)}"


def _called(part: Part) -> str:
    """What is known of it: of one without a name, what its filter has learned."""
    return str(part) if part.name or not part.category else f"{part} ({part.category})"


def _share(part: Part) -> str:
    return f"{100 * part.share:+.1f} %  ({part.contribution:+.2f})"


def _shortened(text: str, width_px: int) -> str:
    """The text as far as it fits; labels may have any length."""
    kept = text[:LONGEST_TEXT]
    if kept == text and _text_width(text) <= width_px:
        return text
    while kept and _text_width(kept + "...") > width_px:
        kept = kept[:-1]
    return kept.rstrip() + "..."


def _text_width(text: str) -> int:
    return math.ceil(_font(TEXT_PX).getlength(text))


@lru_cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType: it cannot write into pictures")
    return font
