"""Photos of every kind that people send, and of the kinds that are refused."""

import struct
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

from showcause.errors import InvalidArgument
from showcause.image import InputSpec, Limits, decode, decode_enough, frame_of, share_seen, to_input
from showcause.reply import Rectangle
from tests import hostile_images
from tests.conftest import jpeg
from tests.hostile_images import encoded


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


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_orientation_is_applied_once_whatever_the_format(chelsea, kind, orientation):
    turned = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright, size = decode_enough(encoded(chelsea.transpose(turned), kind, exif=exif.tobytes()), lambda _: 1.0)
    assert upright.size == size == chelsea.size
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


CAT = Image.fromarray(skimage.data.chelsea())
REFUSED, ACCEPTED = hostile_images.refused(CAT), hostile_images.accepted(CAT)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_photo_is_refused(name):
    data, reason, message = REFUSED[name]
    with pytest.raises(InvalidArgument, match=message) as caught:
        decode(data)
    assert (caught.value.reason, caught.value.field) == (reason, "input.image")
    assert caught.value.allowed
    assert caught.value.value


def test_no_bytes_are_missing():
    with pytest.raises(InvalidArgument, match="zero bytes"):
        decode(b"")


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_photos_are_photos(name):
    image = decode(ACCEPTED[name])
    assert image.mode == "RGB"
    spec = InputSpec(16, 16)
    assert np.isfinite(to_input(image, frame_of(image.size, None, spec))).all()


def test_bombs_do_not_fill_the_memory(tmp_path):
    """Measured in a process of its own, whose peak stays far below the 108 MB and more that each bomb unpacks to."""
    image = Image.new("RGB", (64, 64))
    bombs = [hostile_images.text_bomb(image), hostile_images.profile_bomb(image), hostile_images.pixel_bomb(6000)]
    for number, bomb in enumerate([*bombs, hostile_images.huge_png(20000, 20000)]):
        (tmp_path / f"{number}.png").write_bytes(bomb)
    code = """
import pathlib, resource, sys
from showcause.errors import InvalidArgument
from showcause.image import decode
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
for path in pathlib.Path(sys.argv[1]).iterdir():
    try:
        decode(path.read_bytes())
    except InvalidArgument:
        pass
print(peak() - before)
"""
    grown = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True).stdout
    assert float(grown) < 50


def test_inks_are_read_by_their_profile():
    """In the profile of the test cyan is orange; without a profile it is cyan."""
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    red, _, blue = decode(encoded(cyan, "JPEG", icc_profile=hostile_images.cmyk_profile())).getpixel((8, 8))
    assert red > blue + 50
    red, _, blue = decode(encoded(cyan, "JPEG")).getpixel((8, 8))
    assert blue > red + 50


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_cut_off_photos_are_refused(chelsea, kind, share):
    data = encoded(chelsea, kind)
    with pytest.raises(InvalidArgument, match="cannot be decoded"):
        decode(data[: int(len(data) * share)])


def test_phones_jpeg_of_several_pictures_is_its_first(chelsea):
    assert decode(encoded(chelsea, "MPO", save_all=True, append_images=[chelsea])).size == chelsea.size


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


def test_a_photo_with_a_broken_tag_is_a_photo(chelsea):
    data = jpeg(chelsea.transpose(Image.Transpose.ROTATE_90), exif=exif_with_broken_maker(orientation=6))
    assert decode(data).size == chelsea.size


def test_a_jpeg_of_endless_scans_is_refused(chelsea):
    data = jpeg(chelsea, progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(InvalidArgument, match="too many scans"):
        decode(data[:-2] + data[last:-2] * 120 + data[-2:])


def test_a_phone_s_film_behind_the_photo_does_not_count_as_scans(chelsea):
    film = np.random.default_rng(0).integers(0, 256, 8_000_000, np.uint8).tobytes()
    assert film.count(b"\xff\xda") > 100
    assert decode(jpeg(chelsea) + film).size == chelsea.size


def test_a_photo_that_is_something_else_besides_is_a_photo(chelsea):
    both = bytearray(encoded(chelsea, "BMP"))
    both[128:132] = b"DICM"  # some pixels, or DICOM's mark
    assert decode(bytes(both)).size == chelsea.size


def test_colours_that_are_not_read_are_called_so():
    with pytest.raises(InvalidArgument, match="kind of colours is not read; got 'mode LAB'"):
        decode(encoded(Image.new("LAB", (8, 8)), "TIFF"))


@pytest.fixture(scope="module")
def large():
    """A photo as a phone takes it, by its size: 12 megapixels."""
    return CAT.resize((4000, 3000), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("preprocessing", ["squash", "center_crop", "letterbox"])
@pytest.mark.parametrize("region", [None, Rectangle(700.0, 500.0, 3100.0, 2700.0)])
@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_large_jpeg_is_decoded_as_large_as_it_is_needed(large, preprocessing, region, kind):
    """Its frame is that of the photo, and the network sees nearly the same."""
    spec = InputSpec(224, 224, preprocessing)
    others = {"save_all": True, "append_images": [CAT]} if kind == "MPO" else {}
    data = encoded(large, kind, quality=92, **others)
    photo, size = decode_enough(data, lambda size: share_seen(frame_of(size, region, spec)))
    assert size == (4000, 3000)
    assert photo.size in ((2000, 1500), (1000, 750))
    frame = frame_of(size, region, spec)
    off = np.abs(to_input(photo, frame) - to_input(decode(data), frame)) * 255
    assert off.mean() < 0.2
    assert off.max() < 3, "at the sharpest hair"


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_smaller_one_is_turned_upright_too(large, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(large.resize((1997, 1503)), exif=exif.tobytes())
    photo, size = decode_enough(data, lambda _: 0.24)
    assert size == ((1503, 1997) if orientation == 6 else (1997, 1503))
    assert photo.size == ((376, 500) if orientation == 6 else (500, 376))
    small = decode(data).resize(photo.size)
    assert np.abs(np.asarray(photo, int) - np.asarray(small, int)).mean() < 2


def test_what_is_needed_whole_and_what_is_no_jpeg_stays_as_it_is(large):
    for share, kind in ((1.0, "JPEG"), (0.51, "JPEG"), (0.1, "PNG"), (0.1, "WEBP")):
        data = encoded(large.resize((800, 600)), kind)
        photo, size = decode_enough(data, lambda _, share=share: share)
        assert photo.size == size == (800, 600)
        assert photo.tobytes() == decode(data).tobytes()
