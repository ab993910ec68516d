"""'The same', said once: whether two numbers, arrays, places or pictures are, and by how much they are not. No torch.

Same classes; logits and maps within 1e-4 of their maximum; pictures with at most 0.1% of pixels off by more than 3/255.
Replies differ that much between batches of different size and between machines, and the colour picture of a linear map
is discontinuous. Places (of boxes and parts) may be off by a pixel of the network's input.
"""

import io
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from showcause.reply import Picture

TOLERANCE = 1e-4  # of the maximum
MOST_PIXELS_OFF = 1e-3  # share of a picture's pixels
PIXEL_OFF = 3  # of 255, in any channel
NOISE = 1e-6  # of what float32 sums up to, however small it is

SAME, DIFFERS, NOT_CHECKED = "same", "differs", "not checked"


@dataclass(frozen=True)
class Check:
    """One thing that was compared. text: what differs, or why it was not checked.

    largest: the largest difference, where one can be measured; allowed: up to where things are the same; in ``unit``.
    """

    what: str
    verdict: str  # SAME, DIFFERS or NOT_CHECKED
    text: str = ""
    largest: float | None = None
    allowed: float | None = None
    unit: str = ""


def equal(what: str, found: Mapping[str, object], wanted: Mapping[str, object]) -> Check:
    """Facts that must not differ at all; the text names each that does."""
    text = "; ".join(
        f"{path} is {one or repr(one)} instead of {other or repr(other)}"
        for path, one, other in _differing(found, wanted)
    )
    return Check(what, DIFFERS if text else SAME, text)


def _differing(found: object, wanted: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """The leaves that differ, by their paths."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in dict.fromkeys([*found, *wanted]):
            one, other = found.get(key, "nothing"), wanted.get(key, "nothing")
            yield from _differing(one, other, f"{path}.{key}" if path else str(key))
    elif found != wanted:
        yield path, found, wanted


def within(what: str, largest: float, allowed: float, unit: str = "") -> Check:
    """A difference that was measured."""
    largest = largest if largest < sys.float_info.max else sys.float_info.max  # JSON knows no infinity, and no NaN
    text = "" if largest <= allowed else f"differs by {largest:.2g}{unit and f' {unit}'}; allowed: {allowed:.2g}"
    return Check(what, DIFFERS if text else SAME, text, largest, allowed, unit)


def close(what: str, found: ArrayLike, wanted: ArrayLike, scale: float = 0.0, step: float = 0.0) -> Check:
    """Numbers within the tolerance of the largest that is wanted.

    scale: counts as the maximum where it is larger. step: of numbers as they were sent, allowed besides.
    """
    one, other = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if one.shape != other.shape:
        return Check(what, DIFFERS, f"of shape {one.shape} instead of {other.shape}")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        alike = np.array_equal(one, other, equal_nan=True)
        return Check(what, SAME if alike else DIFFERS, "" if alike else "some values are not finite")
    scale = max(scale, float(np.abs(other).max(initial=0)), sys.float_info.min)
    with np.errstate(over="ignore"):
        largest = float(np.abs(one - other).max(initial=0) / scale)
    return within(what, largest, TOLERANCE + step / scale, "of the maximum")


def step_of(values: NDArray[np.float32], dtype: str) -> float:
    """How far apart two numbers are that are neighbours in what they are sent in: near numbers round to either."""
    if dtype == "uint8":
        return float(np.ptp(values)) / 255
    if dtype == "float16":
        return float(np.spacing(np.float16(min(np.abs(values).max(initial=0), 2**15))))  # the largest are 32 apart, too
    return 0.0


def placed(what: str, found: Sequence[float], wanted: Sequence[float], pixel: float) -> Check:
    """As many coordinates on both sides, in photo pixels; pixel: of the network's input, in photo pixels."""
    with np.errstate(over="ignore"):
        return within(what, float(np.abs(np.subtract(found, wanted)).max(initial=0)), pixel, "px")


def picture(what: str, found: Picture, wanted: Picture) -> Check:
    """Two pictures, pixel by pixel, transparency among the channels."""
    size = wanted.width, wanted.height
    if (found.width, found.height) != size:
        return Check(what, DIFFERS, f"{found.width} x {found.height} instead of {size[0]} x {size[1]}")
    try:
        one, other = (_pixels(png, size) for png in (found.png, wanted.png))
    # Pillow raises whatever its decoders meet in broken data.
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, struct.error, zlib.error):
        return Check(what, DIFFERS, f"no whole PNG of {size[0]} x {size[1]}")
    return within(what, float((np.abs(one - other).max(-1) > PIXEL_OFF).mean()), MOST_PIXELS_OFF, "of the pixels")


def _pixels(png: bytes, size: tuple[int, int]) -> NDArray[np.int16]:
    """(h, w, 4); the size is looked at before a pixel is decoded."""
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        if image.size != size:
            raise ValueError(f"{image.size} instead of {size}")
        return np.asarray(image.convert("RGBA")).astype(np.int16)
