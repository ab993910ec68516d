"""Photos of every kind that people send, and of the kinds that are refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from showcause.errors import InvalidArgument
from showcause.image import InputSpec, Limits, decode, frame_of, to_input
from showcause.reply import Rectangle
from tests.conftest import jpeg


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A valid PNG header that declares any size in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def exif_with_broken_maker(orientation: int) -> bytes:
    """Two tags: the maker's name as a fraction, where the standard has a text, and the orientation."""
    maker = struct.pack("<HHLL", 0x010F, 5, 1, 38)  # RATIONAL, at offset 38
    turn = struct.pack("<HHLHH", 0x0112, 3, 1, orientation, 0)
    directory = struct.pack("<H", 2) + maker + turn + struct.pack("<L", 0)
    return b"Exif\0\0II*\0" + struct.pack("<L", 8) + directory + struct.pack("<LL", 7, 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(chelsea, orientation):
    turned = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(chelsea.transpose(turned) if turned is not None else chelsea, exif=exif.tobytes(), quality=95)
    upright = decode(data)
    assert upright.size == chelsea.size
    assert np.abs(np.asarray(upright, int) - np.asarray(chelsea, int)).mean() < 5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_ordinary_mode_becomes_rgb(chelsea, mode):
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    image = decode(encoded(chelsea.convert(mode), kind))
    assert (image.mode, image.size) == ("RGB", chelsea.size)
    wanted = chelsea.convert(mode).convert("RGB") if mode in ("1", "L", "LA", "P", "CMYK") else chelsea
    assert np.abs(np.asarray(image, int) - np.asarray(wanted, int)).mean() < 5


def test_transparency_is_laid_over_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert decode(encoded(clear, "PNG")).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats(chelsea, kind):
    assert decode(encoded(chelsea, kind)).size == chelsea.size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "zero bytes"),
        (b"no photo at all", "cannot be decoded"),
        (b"%PDF-1.7 ...", "cannot be decoded"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "cannot be decoded"),
        (huge_png(20000, 20000), "too many pixels; got '20000x20000'; allowed: at most 50000000 pixels"),
        (huge_png(2**31 - 1, 2**31 - 1), r"too many pixels|cannot be decoded"),
        (huge_png(10, 10), "cannot be decoded"),
    ],
)
def test_what_is_no_photo_is_refused(data, message):
    with pytest.raises(InvalidArgument, match=message) as caught:
        decode(data)
    assert caught.value.field == "input.image"
    assert caught.value.allowed


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_cut_off_photos_are_refused(chelsea, kind, share):
    data = encoded(chelsea, kind)
    with pytest.raises(InvalidArgument, match="cannot be decoded"):
        decode(data[: int(len(data) * share)])


def test_several_frames_and_deep_colours_are_refused(chelsea):
    frames = encoded(chelsea, "GIF", save_all=True, append_images=[chelsea.rotate(5)])
    with pytest.raises(InvalidArgument, match="several frames; got 'GIF'"):
        decode(frames)
    assert decode(encoded(chelsea, "MPO", save_all=True, append_images=[chelsea])).size == chelsea.size, "phones' JPEG"
    deep = Image.fromarray(np.full((8, 8), 40000, np.uint16))
    with pytest.raises(InvalidArgument, match="more than 8 bits"):
        decode(encoded(deep, "PNG"))


def test_too_many_bytes_are_refused_before_decoding(photo):
    with pytest.raises(InvalidArgument, match=r"too many bytes; got '.*'; allowed: at most 1000 bytes"):
        decode(photo, Limits(image_bytes=1000))


SPECS = {
    "squash": Rectangle(0, 0, 400, 300),
    "center_crop": Rectangle(68.75, 18.75, 331.25, 281.25),
    "letterbox": Rectangle(0, -50, 400, 350),
}


@pytest.mark.parametrize("preprocessing", SPECS)
def test_frame_says_what_the_network_saw(preprocessing):
    frame = frame_of((400, 300), None, InputSpec(224, 224, preprocessing))
    assert frame.seen == SPECS[preprocessing]
    assert (frame.photo_width, frame.photo_height) == (400, 300)


@pytest.mark.parametrize("preprocessing", SPECS)
def test_a_spot_is_seen_where_the_frame_says(preprocessing):
    """A white spot at a known place of the photo appears where ``seen`` maps it."""
    image = Image.new("RGB", (400, 300))
    image.paste((255, 255, 255), (196, 96, 204, 104))
    frame = frame_of(image.size, None, InputSpec(100, 100, preprocessing))
    light = to_input(image, frame)[0] if preprocessing != "letterbox" else to_input(image, frame)[0] * 1.0
    light = np.where(light > 0.52, light, 0)
    rows, columns = np.nonzero(light)
    x, y = columns.mean() + 0.5, rows.mean() + 0.5
    assert frame.seen.x_min + x / 100 * frame.seen.width == pytest.approx(200, abs=frame.seen.width / 100)
    assert frame.seen.y_min + y / 100 * frame.seen.height == pytest.approx(100, abs=frame.seen.height / 100)


def test_region_is_cut_to_the_photo():
    frame = frame_of((400, 300), Rectangle(-50, 100, 200, 900), InputSpec(64, 64))
    assert frame.seen == Rectangle(0, 100, 200, 300)


@pytest.mark.parametrize("edges", [(10, 10, 10, 50), (50, 0, 20, 50), (500, 0, 600, 50), (0, 0, float("nan"), 5)])
def test_region_beside_the_photo_is_refused(edges):
    with pytest.raises(InvalidArgument, match=r"input.region: the region must overlap") as caught:
        frame_of((400, 300), Rectangle(*edges), InputSpec(64, 64))
    assert "0..400" in caught.value.allowed


def test_one_pixel_is_a_photo():
    image = decode(encoded(Image.new("RGB", (1, 1), (255, 0, 0)), "PNG"))
    array = to_input(image, frame_of(image.size, None, InputSpec(16, 16)))
    assert array.shape == (3, 16, 16)
    assert array[0].min() == 1


def test_a_photo_with_a_broken_tag_is_a_photo(chelsea):
    data = jpeg(chelsea.transpose(Image.Transpose.ROTATE_90), exif=exif_with_broken_maker(orientation=6))
    assert decode(data).size == chelsea.size


def test_a_jpeg_of_endless_scans_is_refused(chelsea):
    data = jpeg(chelsea, progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(InvalidArgument, match="too many scans"):
        decode(data[:-2] + data[last:-2] * 120 + data[-2:])


def test_a_side_that_is_too_long_is_refused():
    with pytest.raises(InvalidArgument, match="too long a side; got '40000x1'; allowed: at most 30000 pixels"):
        decode(huge_png(40000, 1))
