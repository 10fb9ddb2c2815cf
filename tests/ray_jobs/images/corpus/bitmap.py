"""BMP: depths, row orders, run lengths, and headers that lie."""

import struct
from itertools import pairwise

import numpy as np
from PIL import Image

from . import pictures
from .entry import File, encode_image, expect_kept, expect_rejected, truncate
from .pictures import HEIGHT, WIDTH, scene


def bmp(image: Image.Image | None = None) -> bytes:
    return encode_image(image or scene(), "BMP")


def encode_rows(rows: bytes, depth: int, *, height: int = HEIGHT, compression: int = 0, palette: bytes = b"") -> bytes:
    """A file header and a BITMAPINFOHEADER of 40 bytes, then the palette and the rows."""
    begin = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, depth, compression, len(rows), 0, 0, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", begin + len(rows), 0, 0, begin) + info + palette + rows


def top_down() -> bytes:
    """A negative height: the first row is the highest."""
    return encode_rows(np.asarray(scene())[:, :, ::-1].tobytes(), 24, height=-HEIGHT)


def blue_first(fourth: int | None) -> bytes:
    """Four bytes per pixel from the bottom up: of `clear`, or of the scene with an unused fourth byte."""
    image = pictures.clear() if fourth is None else scene().convert("RGBA")
    if fourth is not None:
        image.putalpha(fourth)
    return np.asarray(image)[::-1, :, [2, 1, 0, 3]].tobytes()


def with_alpha() -> bytes:
    """A BITMAPV4HEADER of 108 bytes, whose masks name the bits of each channel and of alpha."""
    rows = blue_first(None)
    info = struct.pack("<IiiHHIIiiII", 108, WIDTH, HEIGHT, 1, 32, 3, len(rows), 0, 0, 0, 0)
    info += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 14 + 108 + len(rows), 0, 0, 14 + 108) + info + rows


def run_lengths() -> bytes:
    """RLE8: (count, index) pairs, each row ended by 0 0 and the image by 0 1."""
    rows = b""
    for row in np.asarray(pictures.flat())[::-1]:
        starts = [0, *(np.flatnonzero(np.diff(row)) + 1), WIDTH]
        for begin, after in pairwise(starts):
            rows += bytes([after - begin, row[begin]])
        rows += b"\0\0"
    colours = np.array(pictures.flat().getpalette()).reshape(-1, 3)[:, ::-1].astype(np.uint8)
    palette = b"".join(colour.tobytes() + b"\0" for colour in colours).ljust(1024, b"\0")
    return encode_rows(rows + b"\0\1", 8, compression=1, palette=palette)


def with_offset(offset: int) -> bytes:
    data = bmp()
    return data[:10] + struct.pack("<I", offset) + data[14:]


def claims(width: int, height: int) -> bytes:
    data = bmp()
    return data[:18] + struct.pack("<ii", width, height) + data[26:]


FILES: dict[str, File] = {
    "1-bit.bmp": expect_kept(lambda: bmp(pictures.black_and_white()), shows=pictures.black_and_white, within=0.01),
    "8-bit.bmp": expect_kept(lambda: bmp(pictures.grey()), shows=pictures.grey, within=0.01),
    "palette.bmp": expect_kept(lambda: bmp(pictures.flat()), shows=pictures.flat, within=0.01),
    "24-bit.bmp": expect_kept(bmp, shows=scene, within=0.01),
    "24-bit.dib": expect_kept(bmp, shows=scene, within=0.01),
    "32-bit-alpha.bmp": expect_kept(with_alpha, "alpha-over-white", shows=pictures.over_white, within=0.01),
    # BITMAPINFOHEADER calls the fourth byte reserved: it is no transparency, however often it is 0.
    "32-bit-reserved.bmp": expect_kept(lambda: encode_rows(blue_first(0), 32), shows=scene, within=0.01),
    "top-down.bmp": expect_kept(top_down, shows=scene, within=0.01),
    "run-lengths.bmp": expect_kept(run_lengths, shows=pictures.flat, within=0.01),
    "run-lengths-cut.bmp": expect_rejected(truncate(run_lengths, 0.6), "truncated", "corrupt"),
    "cut-50.bmp": expect_rejected(truncate(bmp, 0.5), "truncated"),
    "header-only.bmp": expect_rejected(lambda: bmp()[:54], "truncated"),
    "offset-after-the-file.bmp": expect_rejected(lambda: with_offset(0x7FFFFFFF), "truncated", "corrupt"),
    "depth-13.bmp": expect_rejected(lambda: encode_rows(bytes(3 * WIDTH * HEIGHT), 13), "corrupt"),
    "claims-60000.bmp": expect_rejected(lambda: claims(60_000, 60_000), "too-large"),
    "width-negative.bmp": expect_rejected(lambda: claims(-5, 100), "corrupt", "too-large"),
    "width-0.bmp": expect_rejected(lambda: claims(0, 100), "corrupt", "too-small"),
    "signature-only.bmp": expect_rejected(lambda: b"BM", "corrupt", "truncated"),
    "bmp.png": expect_kept(bmp, "wrong-extension", shows=scene, within=0.01),
}
