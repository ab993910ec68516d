"""Maps -> pictures. Red speaks for the target, blue against it; nothing here changes a map that is sent.

Imports no torch.
"""

import io
import math
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showcause.reply import InputFrame, Picture

FloatArray = NDArray[np.float32]

FOR, AGAINST = np.array([200, 16, 32]), np.array([24, 72, 200])  # told apart by colour-blind people, too
FULL_PERCENTILE = 99.5  # of |map|: what is drawn at full strength
OVERLAY_SIDE_PX = 1024  # longest side
OVERLAY_OPACITY = 0.85
DIM = 0.35  # brightness of what the network did not see
# Runs alone: photographs under a map repeat little else, and to look for it takes half as long again for larger files.
PNG_STRATEGY = zlib.Z_RLE
GAUSSIAN_REACH = 5.0  # standard deviations: beyond, a millionth is left
DRAWN_SPREAD = 0.01  # of the map's longest side: how far single pixels are blended for drawing


def resized(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """A (h, w) map at ``size`` (width, height), bilinear."""
    if (values.shape[1], values.shape[0]) == size:
        return values
    image = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)


def strength(values: FloatArray) -> FloatArray:
    """The map in -1..1, full strength at a percentile of its absolute values; an all-zero map stays zero."""
    full = float(np.percentile(np.abs(values), FULL_PERCENTILE))
    return np.clip(values / np.float32(full or 1.0), -1, 1).astype(np.float32)


def smoothed(values: FloatArray, spread: float) -> FloatArray:
    """The map with single pixels blended into their surroundings by a Gaussian.

    spread: its standard deviation, as a share of the map's longest side.
    """
    sigma = max(values.shape) * spread
    return _blurred(_blurred(values.astype(np.float32), sigma).T, sigma).T


def _blurred(values: FloatArray, sigma: float) -> FloatArray:
    """Along the first axis, as far as a Gaussian reaches; what would lie beyond the edge counts nothing.

    No matrix product, though it would be shorter: numpy's threads would wait for the cores on which torch's still spin.
    """
    total, weight = values.copy(), np.ones((len(values), 1), np.float32)
    for offset in range(1, min(len(values), math.ceil(GAUSSIAN_REACH * sigma) + 1)):
        share = np.float32(math.exp(-0.5 * (offset / sigma) ** 2))
        total[offset:] += share * values[:-offset]
        total[:-offset] += share * values[offset:]
        weight[offset:] += share
        weight[:-offset] += share
    return total / weight


def heat_map(values: FloatArray, frame: InputFrame) -> Image.Image:
    """The map alone, white where it is zero, at the size of the network's input."""
    level = strength(resized(values, (frame.network_width, frame.network_height)))[..., None]
    return _picture(255 + np.abs(level) * (np.where(level > 0, FOR, AGAINST) - 255))


def backdrop(photo: Image.Image) -> Image.Image:
    """The photo at the size that an overlay is drawn at: longest side at most ``OVERLAY_SIDE_PX``."""
    shrink = min(1.0, OVERLAY_SIDE_PX / max(photo.size))
    size = (max(1, round(photo.width * shrink)), max(1, round(photo.height * shrink)))
    return photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def scale_of(frame: InputFrame, image: Image.Image) -> tuple[float, float]:
    """Pixels of an image of the whole photo (of a tensor: the network's input) for each of the photo's, x and y."""
    width, height = frame.photo_width or frame.network_width, frame.photo_height or frame.network_height
    return image.width / width, image.height / height


def shown(frame: InputFrame, ground: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what was seen of the photo (a letterbox reaches beyond it), on the ground."""
    seen, (scale_x, scale_y) = frame.seen, scale_of(frame, ground)
    left, right = _span(seen.x_min * scale_x, seen.x_max * scale_x, ground.width)
    top, bottom = _span(seen.y_min * scale_y, seen.y_max * scale_y, ground.height)
    return left, top, right, bottom


def dimmed(ground: Image.Image, frame: InputFrame) -> Image.Image:
    """The photo, dark where the network did not see it."""
    box = shown(frame, ground)
    canvas = ground.point(lambda value: round(value * DIM))
    canvas.paste(ground.crop(box), box)
    return canvas


def overlay(values: FloatArray, frame: InputFrame, ground: Image.Image) -> Image.Image:
    """The map over the photo; what the network did not see is dimmed. ground: from ``backdrop``."""
    seen, (scale_x, scale_y) = frame.seen, scale_of(frame, ground)
    left, top, right, bottom = shown(frame, ground)
    # The part of the map that belongs there.
    rows, columns = values.shape
    box = (
        (left / scale_x - seen.x_min) / seen.width * columns,
        (top / scale_y - seen.y_min) / seen.height * rows,
        (right / scale_x - seen.x_min) / seen.width * columns,
        (bottom / scale_y - seen.y_min) / seen.height * rows,
    )
    inner = (max(0.0, box[0]), max(0.0, box[1]), min(float(columns), box[2]), min(float(rows), box[3]))
    blurred = Image.fromarray(smoothed(values, DRAWN_SPREAD))
    part = blurred.resize((right - left, bottom - top), Image.Resampling.BILINEAR, inner)
    level = strength(np.asarray(part, dtype=np.float32))
    pixels = np.asarray(ground)
    canvas = dimmed(ground, frame) if (left, top, right, bottom) != (0, 0, *ground.size) else ground
    drawn = np.array(canvas)
    place = np.s_[top:bottom, left:right]
    # Plane by plane, in float32: with a last axis of three, and in float64, it takes four times as long.
    grey = pixels[place].sum(-1, dtype=np.float32) * np.float32(0.2) + np.float32(255 * 0.3)  # muted: colours stand out
    weight = np.float32(OVERLAY_OPACITY) * np.abs(level)
    grey *= 1 - weight
    speaks_for = np.where(level > 0, weight, np.float32(0))
    weight -= speaks_for
    for channel, (red, blue) in enumerate(zip(FOR, AGAINST, strict=True)):
        plane = grey + np.float32(red) * speaks_for + np.float32(blue) * weight
        drawn[place][..., channel] = np.rint(plane, out=plane)
    return Image.fromarray(drawn)


def _span(low: float, high: float, length: int) -> tuple[int, int]:
    """The whole pixels from ``low`` to ``high`` within 0..length, at least one."""
    start = min(max(0, round(low)), length - 1)
    return start, max(start + 1, min(length, round(high)))


def color(rgba: FloatArray) -> Image.Image:
    """A colour picture on a transparent ground; rgba: (H, W, 4) in 0..1."""
    return _picture(rgba * 255)


def encoded(kind: str, image: Image.Image) -> Picture:
    """A finished picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_type=PNG_STRATEGY)
    return Picture(kind, buffer.getvalue(), image.width, image.height)


def _picture(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))
