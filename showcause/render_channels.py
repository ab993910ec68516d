"""CHIP's global knowledge -> pictures (Cui, Wang, Wang: arXiv 1902.02497, figures 10 and 11). Imports no torch.

The channels that matter for each class, as bars; and how far classes share them, as a matrix.
"""

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from showcause.v1 import service_pb2

MOST_CLASSES = 64  # in one picture
COLUMNS = 5
PANEL_PX, LINE_PX, MARGIN_PX, TEXT_PX = 240, 16, 12, 12
NUMBER_PX, VALUE_PX = 44, 60  # beside a bar: its channel on the left, its weight on the right
LEAST_CELL_PX, CELL_PX = 14, 36
WRITTEN_FROM_PX = 30  # the side of a cell in which its value has room
PAPER, INK, FAINT = "#FFFFFF", "#1A1A1A", "#D8D8D8"
BAR = "#0072B2"  # of the colours that colour-blind people tell apart, too (Okabe and Ito, 2008)
FULL = np.array([0, 114, 178])  # the same
Importance = service_pb2.GetChannelImportanceResponse


def bars(found: Importance) -> Image.Image:
    """A panel for each class: its channels with their weights, strongest first; each class at its own scale."""
    classes = found.classes[:MOST_CLASSES]
    columns = max(1, min(COLUMNS, len(classes)))
    lines = max((len(one.channels) for one in classes), default=0)
    high = (max(lines, 1) + 2) * LINE_PX + MARGIN_PX
    rows = math.ceil(len(classes) / columns) or 1
    canvas = Image.new("RGB", (columns * PANEL_PX + MARGIN_PX, rows * high + 2 * MARGIN_PX + LINE_PX), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN_PX, MARGIN_PX), _headline(found, "channels that matter"), INK, _font(TEXT_PX))
    for place, one in enumerate(classes):
        x, y = MARGIN_PX + place % columns * PANEL_PX, 2 * MARGIN_PX + LINE_PX + place // columns * high
        _panel(draw, x, y, one)
    return canvas


def _panel(draw: ImageDraw.ImageDraw, x: int, y: int, one: service_pb2.ClassChannels) -> None:
    wide = PANEL_PX - MARGIN_PX
    draw.text((x, y), _shortened(one.class_target.label, wide), INK, _font(TEXT_PX + 1))
    about = f"{one.nonzero_count} of {one.channel_count} weights are not 0"
    draw.text((x, y + LINE_PX), about, INK, _font(TEXT_PX - 2))
    longest = max((channel.weight for channel in one.channels), default=0.0)
    for line, channel in enumerate(one.channels, start=2):
        top = y + line * LINE_PX
        middle = top + LINE_PX // 2
        length = (wide - NUMBER_PX - VALUE_PX) * channel.weight / longest
        draw.text((x + NUMBER_PX - 6, middle), str(channel.channel), INK, _font(TEXT_PX), anchor="rm")
        draw.rectangle((x + NUMBER_PX, top + 2, x + NUMBER_PX + max(1, length), top + LINE_PX - 3), BAR)
        draw.text((x + NUMBER_PX + length + 6, middle), f"{channel.weight:.3g}", INK, _font(TEXT_PX - 1), anchor="lm")


def matrix(found: Importance) -> Image.Image:
    """The share of their listed channels that every two classes have in common, darker for more; 0 to 1."""
    count, shown = len(found.classes), min(len(found.classes), MOST_CLASSES)
    values = np.array(found.overlap).reshape(count, count)[:shown, :shown]
    labels = [_shortened(one.class_target.label, PANEL_PX) for one in found.classes[:shown]]
    cell = max(LEAST_CELL_PX, min(CELL_PX, 900 // max(shown, 1)))
    font = _font(min(TEXT_PX, cell - 2))
    beside = max((math.ceil(font.getlength(label)) for label in labels), default=0) + 2 * MARGIN_PX
    top = beside + LINE_PX + MARGIN_PX
    headline = _headline(found, "share of the listed channels that two classes have in common")
    width = max(beside + shown * cell + MARGIN_PX, math.ceil(_font(TEXT_PX).getlength(headline)) + 2 * MARGIN_PX)
    canvas = Image.new("RGB", (width, top + shown * cell + MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN_PX, MARGIN_PX), headline, INK, _font(TEXT_PX))
    for i, label in enumerate(labels):
        middle = top + i * cell + cell // 2
        draw.text((beside - MARGIN_PX // 2, middle), label, INK, font, anchor="rm")
        upright = Image.new("L", (beside, cell), 0)
        ImageDraw.Draw(upright).text((MARGIN_PX // 2, cell // 2), label, 255, font, anchor="lm")
        upright = upright.rotate(90, expand=True)
        canvas.paste(INK, (beside + i * cell, top - beside), upright)
        for j in range(shown):
            x, y, value = beside + j * cell, top + i * cell, float(values[i, j])
            fill = tuple(np.rint(255 + value * (FULL - 255)).astype(int).tolist())
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill, FAINT)
            if cell >= WRITTEN_FROM_PX:
                ink = PAPER if value > 0.5 else INK
                draw.text((x + cell // 2, y + cell // 2), f"{value:.2f}", ink, _font(TEXT_PX - 2), anchor="mm")
    return canvas


def both(found: Importance) -> Image.Image:
    """The two below each other."""
    upper, lower = bars(found), matrix(found)
    canvas = Image.new("RGB", (max(upper.width, lower.width), upper.height + lower.height), PAPER)
    canvas.paste(upper, (0, 0))
    canvas.paste(lower, (0, upper.height))
    return canvas


def _headline(found: Importance, what: str) -> str:
    left_out = len(found.classes) - MOST_CLASSES
    return f"layer {found.layer}: {what}" + (f"; {left_out} more classes are not drawn" if left_out > 0 else "")


def _shortened(text: str, width_px: int) -> str:
    """The text as far as it fits; labels may have any length."""
    font = _font(TEXT_PX + 1)
    if font.getlength(text[:200]) <= width_px and len(text) <= 200:
        return text
    kept = text[:200]
    while kept and font.getlength(kept + "...") > width_px:
        kept = kept[:-1]
    return kept.rstrip() + "..."


@lru_cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
