"""Photos as they come from the wild and from attackers, made here: nothing is read from disk."""

import gzip
import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image, PngImagePlugin


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares this size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b""))
        + png_chunk(b"IEND", b"")
    )


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("photo.jpg"), data, zipfile.ZIP_DEFLATED)  # of 1980: the same bytes each time
    return buffer.getvalue()


def text_bomb(image: Image.Image) -> bytes:
    """A PNG with a compressed text of 200 MB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a", zip=True)
    plain = encoded(image, "PNG", pnginfo=info)
    bomb = png_chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(200_000_000), 9))
    return plain[:33] + bomb + plain[33:]


def profile_bomb(image: Image.Image) -> bytes:
    """A PNG with a colour profile of 200 MB, compressed."""
    plain = encoded(image, "PNG")
    bomb = png_chunk(b"iCCP", b"bomb\x00\x00" + zlib.compress(bytes(200_000_000), 9))
    return plain[:33] + bomb + plain[33:]


def pixel_bomb(side: int) -> bytes:
    """A PNG that declares 8 x 8 pixels, and whose data hold side x side."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(side * (1 + 3 * side)), 9)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def cmyk_profile() -> bytes:
    """A tiny ICC profile of inks: a 2x2x2x2 table to Lab in which cyan is orange, so that its use shows."""
    corners = []
    for index in range(16):
        cyan, magenta, yellow, black = (index >> bit & 1 for bit in (3, 2, 1, 0))
        lightness = 0 if black else 100 - 20 * (cyan + magenta + yellow)
        a, b = (60, 60) if cyan and not (magenta or yellow or black) else (0, 0)
        corners += [round(lightness / 100 * 0xFF00), round((a + 128) / 255 * 0xFF00), round((b + 128) / 255 * 0xFF00)]
    identity = [round(n * 65535 / 1) for n in (0, 1)]
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    table += struct.pack(">HH", 2, 2) + struct.pack(">8H", *identity * 4)
    table += struct.pack(f">{len(corners)}H", *corners) + struct.pack(">6H", *identity * 3)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    start = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2)
    tags += struct.pack(">4sII", b"A2B0", start, len(table)) + struct.pack(
        ">4sII", b"wtpt", start + len(table), len(white)
    )
    size = start + len(table) + len(white)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\x00") + tags + table + white


def deep(kind: str) -> bytes:
    return encoded(Image.fromarray(np.full((8, 8), 40000, np.uint16)), kind)


def deep_rgb_png() -> bytes:
    """16 bits a colour, which Pillow would cut to 8."""
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\x00" + bytes(4 * 6)) * 4)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def refused(image: Image.Image) -> dict[str, tuple[bytes, str, str]]:
    """Name -> bytes, the reason that they are refused for, and a part of the message."""
    jpeg, twin = encoded(image, "JPEG"), image.rotate(5)
    undecodable, large = "IMAGE_NOT_DECODABLE", "INPUT_TOO_LARGE"
    ftyp = b"\x00\x00\x00\x18ftyp"
    return {
        "HEIC": (ftyp + b"heic" + bytes(200), undecodable, "this is HEIC, which is not read"),
        "HEIF of an iPhone burst": (ftyp + b"msf1" + bytes(200), undecodable, "HEIC"),
        "AVIF": (ftyp + b"avif" + bytes(200), undecodable, "AVIF"),
        "MP4": (ftyp + b"isom" + bytes(200), undecodable, "film"),
        "JPEG XL": (b"\xff\x0a" + bytes(200), undecodable, "JPEG XL"),
        "JPEG 2000": (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(99), undecodable, "JPEG 2000"),
        "PDF": (b"%PDF-1.7 ..." + jpeg, undecodable, "PDF"),
        "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", undecodable, "SVG"),
        "HTML": (b"<!DOCTYPE html><p>not found", undecodable, "HTML"),
        "DICOM": (bytes(128) + b"DICM" + bytes(99), undecodable, "DICOM"),
        "zipped photo": (zipped(jpeg), undecodable, "ZIP"),
        "zip bomb": (zipped(bytes(50_000_000)), undecodable, "ZIP"),
        "gzipped photo": (gzip.compress(jpeg, mtime=0), undecodable, "gzip"),
        "gzip bomb": (gzip.compress(bytes(50_000_000), mtime=0), undecodable, "gzip"),
        "JPEG of a header alone": (jpeg[:2], undecodable, "cannot be decoded"),
        "JPEG without its end": (jpeg[:-2000], undecodable, "cannot be decoded"),
        "PNG without its end": (encoded(image, "PNG")[:-2000], undecodable, "cannot be decoded"),
        "PNG whose data are of another size": (huge_png(10, 10), undecodable, "cannot be decoded"),
        "animated GIF": (encoded(image, "GIF", save_all=True, append_images=[twin]), undecodable, "several frames"),
        "animated WebP": (encoded(image, "WEBP", save_all=True, append_images=[twin]), undecodable, "several frames"),
        "animated PNG": (encoded(image, "PNG", save_all=True, append_images=[twin]), undecodable, "several frames"),
        "TIFF of 2 pages": (encoded(image, "TIFF", save_all=True, append_images=[twin]), undecodable, "several frames"),
        "grey PNG of 16 bits": (deep("PNG"), undecodable, "more than 8 bits"),
        "grey TIFF of 16 bits": (deep("TIFF"), undecodable, "more than 8 bits"),
        "RGB PNG of 16 bits": (deep_rgb_png(), undecodable, "more than 8 bits"),
        "float TIFF": (encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), undecodable, "more than 8 bits"),
        "20000 x 20000 declared": (huge_png(20000, 20000), large, "too many pixels"),
        "2147483647 x 2147483647 declared": (huge_png(2**31 - 1, 2**31 - 1), large, "too many pixels"),
        "40000 x 1 declared": (huge_png(40000, 1), large, "too long a side"),
        "compressed text of 200 MB": (text_bomb(image), undecodable, "cannot be decoded"),
        "compressed profile of 200 MB": (profile_bomb(image), undecodable, "cannot be decoded"),
    }  # fmt: skip


def accepted(image: Image.Image) -> dict[str, bytes]:
    """Odd photos that are photos all the same."""
    jpeg = encoded(image, "JPEG", quality=92)
    inks = image.convert("CMYK")
    return {
        "1 x 1": encoded(Image.new("RGB", (1, 1), (200, 10, 10)), "PNG"),
        "3000 x 1": encoded(Image.new("RGB", (3000, 1), (200, 10, 10)), "PNG"),
        "1 x 3000": encoded(Image.new("RGB", (1, 3000), (200, 10, 10)), "PNG"),
        "progressive JPEG": encoded(image, "JPEG", progressive=True),
        "CMYK JPEG": encoded(inks, "JPEG"),
        "CMYK JPEG with a profile": encoded(inks, "JPEG", icc_profile=cmyk_profile()),
        "CMYK JPEG with a broken profile": encoded(inks, "JPEG", icc_profile=cmyk_profile()[:90]),
        "RGB JPEG with a broken profile": encoded(image, "JPEG", icc_profile=b"no profile"),
        "grey": encoded(image.convert("L"), "PNG"),
        "black and white": encoded(image.convert("1"), "PNG"),
        "palette": encoded(image.convert("P"), "PNG"),
        "palette with transparency": encoded(image.convert("P"), "PNG", transparency=3),
        "palette with a table of transparencies": encoded(image.convert("P"), "PNG", transparency=bytes(range(256))),
        "RGBA": encoded(image.convert("RGBA"), "PNG"),
        "GIF of one frame": encoded(image.convert("P"), "GIF"),
        "lossless WebP": encoded(image, "WEBP", lossless=True),
        "TIFF": encoded(image, "TIFF", compression="tiff_lzw"),
        "BMP": encoded(image, "BMP"),
        "a photo, and a ZIP behind it": jpeg + zipped(b"class Evil {}"),
        "a photo, and a script behind it": jpeg + b"<script>alert(1)</script>",
        "8 x 8 declared, 4000 x 4000 in the data": pixel_bomb(4000),
    }
