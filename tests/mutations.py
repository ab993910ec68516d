"""Photos broken at random, but the same way each time: what a fuzzer sends."""

import random
from collections.abc import Iterator

from PIL import Image

from tests.hostile_images import cmyk_profile, encoded


def seeds(image: Image.Image) -> list[bytes]:
    """Small photos in every format that is read, each in several ways of writing it."""
    small = image.resize((48, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(small, "JPEG", exif=exif),
        encoded(small, "JPEG", progressive=True, optimize=True),
        encoded(small.convert("L"), "JPEG", restart_marker_rows=1),
        encoded(small.convert("CMYK"), "JPEG", icc_profile=cmyk_profile()),
        encoded(small, "MPO", save_all=True, append_images=[small]),
        encoded(small, "PNG"),
        encoded(small.convert("P"), "PNG", transparency=bytes(range(256))),
        encoded(small.convert("LA"), "PNG", icc_profile=cmyk_profile()),
        encoded(small.convert("1"), "PNG", bits=1),
        encoded(small, "WEBP"),
        encoded(small.convert("RGBA"), "WEBP", lossless=True, exif=exif),
        encoded(small.convert("P"), "GIF", transparency=2),
        encoded(small, "BMP"),
        encoded(small.convert("P"), "BMP"),
        encoded(small, "TIFF", compression="tiff_lzw"),
        encoded(small, "TIFF", compression="tiff_adobe_deflate"),
        encoded(small, "TIFF", compression="jpeg"),
        encoded(small.convert("1"), "TIFF", compression="group4"),
        encoded(small.convert("CMYK"), "TIFF"),
    ]


def mutated(originals: list[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """``count`` different broken photos; the originals take turns."""
    rng, seen = random.Random(seed), set(originals)
    while count:
        data = bytearray(originals[count % len(originals)])
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            rng.choice((_flip, _set, _number, _cut, _remove, _repeat, _splice))(rng, data, originals)
        if (broken := bytes(data)) not in seen and broken:
            seen.add(broken)
            count -= 1
            yield broken


def _place(rng: random.Random, data: bytearray) -> int:
    """Every second time in the first 128 bytes, where the headers are."""
    return rng.randrange(min(len(data), rng.choice((128, len(data))))) if data else 0


def _flip(rng, data, _) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _set(rng, data, _) -> None:
    if data:
        data[_place(rng, data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(rng, data, _) -> None:
    """A length or a size that is extreme, in either byte order."""
    size = rng.choice((2, 4))
    value = rng.choice((0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1))
    place = _place(rng, data)
    data[place : place + size] = value.to_bytes(size, rng.choice(("big", "little")))


def _cut(rng, data, _) -> None:
    del data[_place(rng, data) :]


def _remove(rng, data, _) -> None:
    place = _place(rng, data)
    del data[place : place + rng.randrange(1, 64)]


def _repeat(rng, data, _) -> None:
    place = _place(rng, data)
    data[place:place] = data[place : place + rng.randrange(1, 256)] * rng.choice((1, 2, 20))


def _splice(rng, data, originals) -> None:
    other = rng.choice(originals)
    place, start = _place(rng, data), rng.randrange(len(other))
    data[place : place + 64] = other[start : start + 64]
