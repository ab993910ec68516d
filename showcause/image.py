"""A photo's bytes -> an upright RGB picture -> the network's input, and the frame that maps one to the other.

This is the only place where coordinates are made: EXIF orientation, region and preprocessing all end in one rectangle
``seen``, in pixels of the upright photo. Imports no torch.
"""

import io
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from showcause.errors import InvalidArgument
from showcause.reply import InputFrame, Rectangle

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
NAMED_FORMATS = "JPEG, PNG, WebP, GIF, BMP or TIFF"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MOST_SIDE_PX = 30_000
PIXELS_A_PIXEL = 4.0  # that a photo is decoded with, each way, for one of the network's input
MOST_JPEG_SCANS = 100  # each scan costs a pass over all pixels, however few bytes it has
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # what compressed data cannot hold: all but 00, FF and restarts
# What people send and we do not read, so that the error can call it by its name: offset, bytes, name.
UNREAD = (
    *(
        (4, b"ftyp" + brand, "HEIC")
        for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    ),
    *((4, b"ftyp" + brand, "AVIF") for brand in (b"avif", b"avis")),
    (4, b"ftyp", "an MP4 or QuickTime film"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"<!DOCTYPE", "HTML"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"8BPS", "Photoshop"),
    (128, b"DICM", "DICOM"),
    (0, b"\x93NUMPY", "a numpy array"),
)
ORIENTATION_TAG = 0x0112  # of EXIF's tags only this one is read: photos with others that are broken are photos, too
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = tuple(TURNS[number] for number in (5, 6, 7, 8))
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})  # 8 bits a channel or fewer

# The declared size is checked below, before a pixel is decoded, against a limit of our own.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Limits:
    """What the server takes."""

    image_bytes: int = 20 * 1024 * 1024
    image_pixels: int = 50_000_000


def decode(data: bytes, limits: Limits = Limits(), field: str = "input.image") -> Image.Image:
    """Encoded photo -> upright RGB picture; see ``decode_enough``."""
    return decode_enough(data, lambda _: 1.0, limits, field)[0]


def decode_enough(
    data: bytes, share: Callable[[tuple[int, int]], float], limits: Limits = Limits(), field: str = "input.image"
) -> tuple[Image.Image, tuple[int, int]]:
    """Encoded photo -> upright RGB picture, and the upright photo's (width, height).

    share: of that size, how much of it is needed. A JPEG is decoded at an eighth, a quarter or a half of its size where
    that is enough: its blocks hold the smaller pictures, and a phone's photo takes a third of the time. Other pictures
    come as they are. Transparency is laid over white.

    Raises InvalidArgument for what is not a photo, is cut off, holds several frames or more than 8 bits a channel, or
    is over the limits; the size is checked before any pixel is decoded.
    """
    if not data:
        raise InvalidArgument("INPUT_MISSING", "the photo has zero bytes", field=field, allowed=NAMED_FORMATS)
    if len(data) > limits.image_bytes:
        raise too_many_bytes(len(data), limits, field)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > limits.image_pixels:
            raise _too_large("the photo declares too many pixels", f"{width}x{height}", limits.image_pixels, field)
        if max(width, height) > MOST_SIDE_PX:
            raise _too_large("the photo has too long a side", f"{width}x{height}", MOST_SIDE_PX, field)
        # MPO is how some phones write a JPEG: the photo first, then previews. Pillow opens it as a JPEG.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise _undecodable("the file holds several frames", image.format, field)
        # Pillow would cut 16-bit colours to 8 without a word.
        if image.mode[0] in "IF" or any(";16" in str(tile) for tile in getattr(image, "tile", ())):
            raise _undecodable("the photo has more than 8 bits a channel", f"mode {image.mode}", field)
        if image.mode not in MODES:
            raise _undecodable("the photo's kind of colours is not read", f"mode {image.mode}", field)
        if image.format in ("JPEG", "MPO") and _jpeg_scans(data) > MOST_JPEG_SCANS:
            raise _undecodable("the JPEG has too many scans", f"more than {MOST_JPEG_SCANS}", field)
        # Pillow turns a TIFF by itself when it is loaded, and tells its upright size before.
        turn = None if image.format == "TIFF" else TURNS.get(image.getexif().get(ORIENTATION_TAG, 1))
        size = (height, width) if turn in SIDEWAYS else (width, height)
        needed = share(size)
        image.draft(None, (math.ceil(width * needed), math.ceil(height * needed)))  # of other formats it does nothing
        image.load()
        return _on_white(image if turn is None else image.transpose(turn)), size
    except InvalidArgument:
        raise
    # Pillow raises whatever its decoders meet in broken data; all of it means the same to the caller.
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        TypeError,
        KeyError,
        IndexError,
        struct.error,
        OverflowError,
    ) as e:
        name = next((name for start, mark, name in UNREAD if data[start : start + len(mark)] == mark), "")
        message = f"this is {name}, which is not read" if name else "the bytes cannot be decoded as a photo"
        raise _undecodable(message, _beginning(data), field) from e


def _jpeg_scans(data: bytes) -> int:
    """Scans of a JPEG up to its end: phones append films, in which anything may stand. Counts to the limit and one."""
    place = scans = 0
    while scans <= MOST_JPEG_SCANS and (marker := JPEG_MARKER.search(data, place)):
        kind, place = data[marker.start() + 1], marker.end()
        if kind == 0xD9:  # the end
            break
        scans += kind == 0xDA
        if kind not in (0xD8, 0x01):  # the others say how long they are
            place += int.from_bytes(data[place : place + 2], "big")
    return scans


def too_many_bytes(size: int, limits: Limits, field: str = "input.image") -> InvalidArgument:
    return InvalidArgument(
        "INPUT_TOO_LARGE",
        "the photo has too many bytes",
        field=field,
        value=size,
        allowed=f"at most {limits.image_bytes} bytes",
    )


def _beginning(data: bytes) -> str:
    return f"{len(data)} bytes that begin with {data[:12].hex(' ')}"


def _undecodable(message: str, value: object, field: str) -> InvalidArgument:
    allowed = f"one whole {NAMED_FORMATS} picture of up to 8 bits a channel"
    return InvalidArgument("IMAGE_NOT_DECODABLE", message, field=field, value=value, allowed=allowed)


def _too_large(message: str, value: str, most: int, field: str) -> InvalidArgument:
    return InvalidArgument("INPUT_TOO_LARGE", message, field=field, value=value, allowed=f"at most {most} pixels")


def _on_white(image: Image.Image) -> Image.Image:
    if "A" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(ground, rgba).convert("RGB")
    if image.mode == "CMYK" and "icc_profile" in image.info:
        return _from_profile(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_profile(image: Image.Image) -> Image.Image:
    """CMYK by its ICC profile: inks without one are a guess. RGB photos keep their numbers, profile or not, because
    that is how classifiers are trained."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return converted or image.convert("RGB")
    except (ImageCms.PyCMSError, OSError):  # a broken profile does not make a photo unreadable
        return image.convert("RGB")


def _squash(region: Rectangle, width: int, height: int, crop: float) -> Rectangle:
    return region


def _center_crop(region: Rectangle, width: int, height: int, crop: float) -> Rectangle:
    scale = crop * min(region.width / width, region.height / height)  # photo pixels per network pixel
    return _around(region, scale * width, scale * height)


def _letterbox(region: Rectangle, width: int, height: int, crop: float) -> Rectangle:
    scale = max(region.width / width, region.height / height)
    return _around(region, scale * width, scale * height)


def _around(region: Rectangle, width: float, height: float) -> Rectangle:
    x, y = (region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2
    return Rectangle(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


# name -> (region, input width, input height, share of the shorter side that is kept) -> rectangle that is seen
PREPROCESSINGS: dict[str, Callable[[Rectangle, int, int, float], Rectangle]] = {
    "squash": _squash,
    "center_crop": _center_crop,
    "letterbox": _letterbox,
}


@dataclass(frozen=True)
class InputSpec:
    """The input that a network wants. crop: share of the shorter side that a center_crop keeps (224/256 = 0.875)."""

    width: int
    height: int
    preprocessing: str = "squash"
    crop: float = 0.875


def frame_of(size: tuple[int, int], region: Rectangle | None, spec: InputSpec) -> InputFrame:
    """Where the network looks in an upright photo of ``size`` (width, height). The region is cut to the photo."""
    width, height = size
    whole = Rectangle(0.0, 0.0, float(width), float(height))
    region = whole if region is None else _inside(region, whole)
    seen = PREPROCESSINGS[spec.preprocessing](region, spec.width, spec.height, spec.crop)
    return InputFrame(width, height, seen, spec.width, spec.height, spec.preprocessing)


def share_seen(frame: InputFrame) -> float:
    """How much of the photo's size the network's input needs, so that each of its pixels is made of four each way."""
    scale = max(frame.network_width / frame.seen.width, frame.network_height / frame.seen.height)
    return min(1.0, PIXELS_A_PIXEL * scale)


def _inside(region: Rectangle, whole: Rectangle) -> Rectangle:
    edges = (region.x_min, region.y_min, region.x_max, region.y_max)
    cut = Rectangle(
        max(region.x_min, 0.0), max(region.y_min, 0.0), min(region.x_max, whole.x_max), min(region.y_max, whole.y_max)
    )
    # Not `cut.width < 1`: every comparison with NaN is false, and NaN must be refused too.
    if not (np.isfinite(edges).all() and cut.width >= 1 and cut.height >= 1):
        raise InvalidArgument(
            "PARAMETER_OUT_OF_RANGE",
            "the region must overlap the photo by at least one pixel each way",
            field="input.region",
            value=list(edges),
            allowed=f"x_min < x_max within 0..{whole.x_max:g}, y_min < y_max within 0..{whole.y_max:g}",
        )
    return cut


def to_input(image: Image.Image, frame: InputFrame) -> NDArray[np.float32]:
    """What the network sees: (3, H, W) RGB in 0..1. Outside the photo (letterbox) it is mid-grey.

    image: the upright photo, which may have been decoded smaller than it is; its size is then rounded up, which moves
    the far edge by a quarter of a pixel of the input at most.
    """
    size = (frame.network_width, frame.network_height)
    seen, photo = frame.seen, Rectangle(0.0, 0.0, float(frame.photo_width), float(frame.photo_height))
    across, down = image.width / frame.photo_width, image.height / frame.photo_height  # 1 unless it is smaller
    part = Rectangle(
        max(seen.x_min, 0.0), max(seen.y_min, 0.0), min(seen.x_max, photo.x_max), min(seen.y_max, photo.y_max)
    )
    box = (part.x_min * across, part.y_min * down, part.x_max * across, part.y_max * down)
    if part == seen:
        resized = image.resize(size, Image.Resampling.BILINEAR, box)
    else:
        scale_x, scale_y = size[0] / seen.width, size[1] / seen.height
        inner = (max(1, round(part.width * scale_x)), max(1, round(part.height * scale_y)))
        resized = Image.new("RGB", size, (128, 128, 128))
        corner = (round((part.x_min - seen.x_min) * scale_x), round((part.y_min - seen.y_min) * scale_y))
        resized.paste(image.resize(inner, Image.Resampling.BILINEAR, box), corner)
    array = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray(array) / np.float32(255)
