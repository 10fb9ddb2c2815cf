"""TIFF: compressions, colours and depths, pages, and directories that lead nowhere or round and round."""

import io
import struct
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from . import pictures, profiles
from .entry import File, encode_image, expect_kept, expect_rejected, truncate, zero_out
from .pictures import HEIGHT, WIDTH, scene

WIDTH_TAG, STRIPS, ROWS_A_STRIP, COMPRESSION, ORIENTATION = 256, 273, 278, 259, 274
SIZES = {3: 2, 4: 4}  # of a SHORT and a LONG


def tiff(image: Image.Image | None = None, **options: object) -> bytes:
    return encode_image(image or scene(), "TIFF", **options)


def lzw() -> bytes:
    return tiff(compression="tiff_lzw")


def by_tifffile(values: np.ndarray, **options: Any) -> bytes:
    sink = io.BytesIO()
    tifffile.imwrite(sink, values, **{"photometric": "rgb"} | options)
    return sink.getvalue()


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """The value of a tag replaced, in the first directory of a little-endian file (TIFF 6.0, section 2)."""
    position = struct.unpack_from("<I", data, 4)[0]
    for entry in range(position + 2, position + 2 + 12 * struct.unpack_from("<H", data, position)[0], 12):
        tag_found, kind, count = struct.unpack_from("<HHI", data, entry)
        if tag_found == tag:
            place = entry + 8 if SIZES[kind] * count <= 4 else struct.unpack_from("<I", data, entry + 8)[0]
            new = struct.pack("<H" if kind == 3 else "<I", value)
            return data[:place] + new + data[place + len(new) :]
    raise AssertionError(f"no tag {tag}")


def loop() -> bytes:
    """The next directory is the same one again."""
    data = tiff()
    position = struct.unpack_from("<I", data, 4)[0]
    after = position + 2 + 12 * struct.unpack_from("<H", data, position)[0]
    return data[:after] + struct.pack("<I", position) + data[after + 4 :]


def shares() -> np.ndarray:
    return (np.asarray(pictures.grey()) / 255).astype(np.float32)


def lab() -> bytes:
    """L of 0 to 255, a and b as signed bytes (TIFF 6.0, section 23)."""
    pixels = np.asarray(scene()).reshape(-1, 3) / 255
    values = profiles.lab(profiles.linear(pixels)).reshape(HEIGHT, WIDTH, 3)
    values[..., 1:] -= 128
    return tiff(Image.frombytes("LAB", (WIDTH, HEIGHT), (values.round().astype(int) & 0xFF).astype(np.uint8).tobytes()))


def pages() -> bytes:
    return tiff(save_all=True, append_images=[pictures.mirrored().copy()])


def turned() -> bytes:
    return tiff(scene().transpose(Image.Transpose.ROTATE_90), tiffinfo={ORIENTATION: 6})


FILES: dict[str, File] = {
    "raw.tif": expect_kept(tiff, shows=scene, within=0.01),
    "lzw.tiff": expect_kept(lzw, shows=scene, within=0.01),
    "deflate.tif": expect_kept(lambda: tiff(compression="tiff_adobe_deflate"), shows=scene, within=0.01),
    "packbits.tif": expect_kept(lambda: tiff(compression="packbits"), shows=scene, within=0.01),
    "fax.tif": expect_kept(
        lambda: tiff(pictures.black_and_white(), compression="group4"), shows=pictures.black_and_white, within=0.01
    ),
    "jpeg.tif": expect_kept(lambda: tiff(compression="jpeg", quality=95), shows=scene, within=5),
    "tiled.tif": expect_kept(lambda: by_tifffile(np.asarray(scene()), tile=(64, 64)), shows=scene, within=0.01),
    "big-endian.tif": expect_kept(lambda: by_tifffile(np.asarray(scene()), byteorder=">"), shows=scene, within=0.01),
    "big.tif": expect_kept(lambda: by_tifffile(np.asarray(scene()), bigtiff=True), shows=scene, within=0.01),
    "planes.tif": expect_kept(
        lambda: by_tifffile(np.asarray(scene()).transpose(2, 0, 1), planarconfig="separate"), shows=scene, within=0.01
    ),
    "palette.tif": expect_kept(lambda: tiff(pictures.flat()), shows=pictures.flat, within=0.01),
    "cmyk.tif": expect_kept(lambda: tiff(pictures.cmyk()), "cmyk-to-rgb", shows=scene),
    "lab.tif": expect_kept(lab, "lab-to-rgb", shows=scene),
    "rgba.tif": expect_kept(lambda: tiff(pictures.clear()), "alpha-over-white", shows=pictures.over_white, within=0.01),
    "grey-16-bit.tif": expect_kept(
        lambda: by_tifffile(np.asarray(pictures.grey()).astype(np.uint16) * 257, photometric="minisblack"),
        "16-bit-to-8",
        shows=pictures.grey,
        within=0.01,
    ),
    "grey-16-bit-big-endian.tif": expect_kept(
        lambda: by_tifffile(
            np.asarray(pictures.grey()).astype(np.uint16) * 257, photometric="minisblack", byteorder=">"
        ),
        "16-bit-to-8",
        shows=pictures.grey,
        within=0.01,
    ),
    "rgb-16-bit.tif": expect_kept(
        lambda: by_tifffile(np.asarray(scene()).astype(np.uint16) * 257), "16-bit-to-8", shows=scene, within=0.01
    ),
    "float.tif": expect_kept(
        lambda: by_tifffile(shares(), photometric="minisblack"), "16-bit-to-8", shows=pictures.grey, within=0.6
    ),
    "float-with-nan.tif": expect_kept(
        lambda: by_tifffile(np.where(shares() > 2, shares(), np.float32("nan")), photometric="minisblack"),
        "16-bit-to-8",
        shows=lambda: Image.new("L", (WIDTH, HEIGHT)),
        within=0.01,
    ),
    "white-is-zero.tif": expect_kept(
        lambda: by_tifffile(255 - np.asarray(pictures.grey()), photometric="miniswhite"),
        shows=pictures.grey,
        within=0.01,
    ),
    "integers-32-bit.tif": expect_rejected(
        lambda: by_tifffile(np.asarray(pictures.grey()).astype(np.uint32) << 20, photometric="minisblack"), "corrupt"
    ),
    "float-rgb.tif": expect_rejected(lambda: by_tifffile((np.asarray(scene()) / 255).astype(np.float32)), "corrupt"),
    "pages.tif": expect_kept(pages, "first-frame", shows=scene, within=0.01),
    "orientation-6.tif": expect_kept(turned, "exif-rotated", shows=scene, within=0.01),
    "profile-adobe-rgb.tif": expect_kept(
        lambda: tiff(
            profiles.seen_through(profiles.ADOBE.tobytes(), 2.2), icc_profile=profiles.profile(profiles.ADOBE, 2.2)
        ),
        "icc-to-srgb",
        shows=scene,
    ),
    "loop.tif": expect_kept(loop, shows=scene, within=0.01),  # the first page is whole, and a loop is no further page
    "old-jpeg.tif": expect_rejected(lambda: with_tag(tiff(compression="jpeg"), COMPRESSION, 6), "corrupt"),
    "unknown-compression.tif": expect_rejected(lambda: with_tag(tiff(), COMPRESSION, 31337), "corrupt"),
    "cut-50.tif": expect_rejected(truncate(tiff, 0.5), "truncated", "corrupt"),
    "cut-50-lzw.tif": expect_rejected(truncate(lzw, 0.5), "truncated", "corrupt"),
    "cut-90-tiled.tif": expect_rejected(
        truncate(lambda: by_tifffile(np.asarray(scene()), tile=(64, 64)), 0.9), "truncated", "corrupt"
    ),
    "zeroed-lzw.tif": expect_rejected(zero_out(lzw, 0.3, 0.7), "corrupt"),
    "strips-outside.tif": expect_rejected(lambda: with_tag(tiff(), STRIPS, 0x7FFFFFF0), "truncated", "corrupt"),
    "strips-outside-lzw.tif": expect_rejected(lambda: with_tag(lzw(), STRIPS, 0x7FFFFFF0), "truncated", "corrupt"),
    "claims-60000.tif": expect_rejected(
        lambda: with_tag(with_tag(tiff(), WIDTH_TAG, 60_000), WIDTH_TAG + 1, 60_000), "too-large"
    ),
    "directory-outside.tif": expect_rejected(lambda: b"II*\0\xf0\xff\xff\x7f" + bytes(100), "corrupt", "truncated"),
    "signature-only.tif": expect_rejected(lambda: b"II*\0", "corrupt", "truncated"),
    "tiff.jpg": expect_kept(tiff, "wrong-extension", shows=scene, within=0.01),
}
