"""PNG: every depth and kind of colour, transparency, profiles, bombs, and damage to its chunks."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image, PngImagePlugin

from . import pictures, profiles
from .entry import File, encode_image, expect_kept, expect_rejected, truncate, zero_out
from .jpeg import exif
from .pictures import HEIGHT, WIDTH, scene

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, RGBA = 0, 2, 6
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png(image: Image.Image | None = None, **options: object) -> bytes:
    return encode_image(image or scene(), "PNG", **options)


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, depth: int, colour: int, interlaced: bool = False) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, first byte, byte after the last) of every chunk."""
    position = 8
    while position < len(data):
        after = position + 12 + struct.unpack_from(">I", data, position)[0]
        yield data[position + 4 : position + 8], position, after
        position = after


def where(data: bytes, kind: bytes) -> tuple[int, int]:
    return next((begin, after) for name, begin, after in chunks(data) if name == kind)


def without(data: bytes, kind: bytes) -> bytes:
    return b"".join([data[:8], *(data[begin:after] for name, begin, after in chunks(data) if name != kind)])


def after_header(data: bytes, *extra: bytes) -> bytes:
    return data[:33] + b"".join(extra) + data[33:]


def with_bad_sum(data: bytes, kind: bytes) -> bytes:
    _, after = where(data, kind)
    return data[: after - 4] + bytes(byte ^ 0xFF for byte in data[after - 4 : after]) + data[after:]


def encode_rows(values: np.ndarray, depth: int, colour: int, *extra: bytes) -> bytes:
    """The rows of bytes, without a filter."""
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    head = header(WIDTH, HEIGHT, depth, colour)
    return SIGNATURE + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def few_greys(depth: int) -> np.ndarray:
    """The grey scene in 2**depth levels."""
    return (np.asarray(pictures.grey()).astype(int) * ((1 << depth) - 1) + 127) // 255


def pack_greys(depth: int) -> bytes:
    """Several grey pixels per byte."""
    bits = np.unpackbits(few_greys(depth).astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
    return encode_rows(np.packbits(bits.reshape(HEIGHT, -1), axis=1), depth, GREY)


def shows_few_greys(depth: int) -> Image.Image:
    return Image.fromarray((few_greys(depth) * 255 // ((1 << depth) - 1)).astype(np.uint8))


def wide(image: Image.Image) -> np.ndarray:
    """Each value with 16 bits, most significant byte first."""
    values = np.asarray(image).astype(np.uint16) * 257
    return values.reshape(HEIGHT, -1).astype(">u2")


def dark() -> Image.Image:
    return Image.new("L", (WIDTH, HEIGHT), 1)


def interlaced() -> bytes:
    """Adam7 (PNG 1.2, 8.2): seven small images of every eighth, fourth, second pixel."""
    pixels, rows = np.asarray(scene()), b""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[y::dy, x::dx])
    head = header(WIDTH, HEIGHT, 8, RGB, interlaced=True)
    return SIGNATURE + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def animated() -> bytes:
    return png(save_all=True, append_images=[pictures.mirrored()], duration=100)


def make_flipped() -> bytes:
    """Bits flipped in the compressed pixels, with the chunk's checksum unchanged."""
    data = bytearray(png())
    begin, after = where(bytes(data), b"IDAT")
    data[(begin + after) // 2] ^= 0x10
    return bytes(data)


def stored_flipped() -> bytes:
    """The same without compression: only a checksum can detect it."""
    data = bytearray(png(compress_level=0))
    data[len(data) // 2] ^= 0x80
    return bytes(data)


def more_pixels_than_declared() -> bytes:
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(scene())) + bytes(300_000_000)
    return SIGNATURE + header(WIDTH, HEIGHT, 8, RGB) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND")


def fewer_pixels_than_declared() -> bytes:
    data = png()
    return SIGNATURE + header(WIDTH, 2 * HEIGHT, 8, RGB) + data[33:]


def bomb(width: int, height: int) -> bytes:
    return SIGNATURE + header(width, height, 8, RGB) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND")


def white_bomb() -> bytes:
    """As many pixels as a camera's, in 5 kB. It is no bomb, because it has the declared size."""
    side = 4_000
    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(b"\0" + b"\xff" * (side // 8)) for _ in range(side)) + rows.flush()
    return SIGNATURE + header(side, side, 1, GREY) + chunk(b"IDAT", body) + chunk(b"IEND")


def text(size: int) -> bytes:
    return chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(size), 9))


def profiled(body: bytes) -> bytes:
    return after_header(png(), chunk(b"iCCP", b"profile\0\0" + body))


def p3() -> bytes:
    pixels = profiles.seen_through(profiles.P3.tobytes(), 2.2)
    return png(pixels, icc_profile=profiles.profile(profiles.P3, 2.2))


def rotated() -> bytes:
    return png(scene().transpose(Image.Transpose.ROTATE_90), exif=exif(6))


def annotated() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "a workflow of a megabyte " * 20_000)
    return png(pnginfo=info)


def palette(transparent: int | None = None) -> bytes:
    return png(pictures.flat()) if transparent is None else png(pictures.flat(), transparency=transparent)


def without_an_entry() -> Image.Image:
    """The scene in eight colours, the first of them white."""
    mask = Image.fromarray((np.asarray(pictures.flat()) == 0).astype(np.uint8) * 255)
    image = pictures.flat().convert("RGB")
    image.paste("white", mask=mask)
    return image


def in_two_colours() -> Image.Image:
    return scene().quantize(2, dither=Image.Dither.NONE)


FILES: dict[str, File] = {
    **{
        f"grey-{depth}-bit.png": expect_kept(
            partial(pack_greys, depth), shows=partial(shows_few_greys, depth), within=0.01
        )
        for depth in (1, 2, 4)
    },
    "grey-8-bit.png": expect_kept(lambda: png(pictures.grey()), shows=pictures.grey, within=0.01),
    "grey-16-bit.png": expect_kept(
        lambda: encode_rows(wide(pictures.grey()), 16, GREY), "16-bit-to-8", shows=pictures.grey, within=0.01
    ),
    "grey-16-bit-dark.png": expect_kept(
        lambda: encode_rows(wide(dark()), 16, GREY), "16-bit-to-8", shows=dark, within=0.01
    ),
    "grey-alpha-8-bit.png": expect_kept(
        lambda: png(pictures.clear().convert("LA")),
        "alpha-over-white",
        shows=lambda: pictures.over_white().convert("L"),
        within=0.5,
    ),
    "rgb.png": expect_kept(png, shows=scene, within=0.01),
    "rgb-16-bit.png": expect_kept(lambda: encode_rows(wide(scene()), 16, RGB), "16-bit-to-8", shows=scene, within=0.01),
    "rgba-16-bit.png": expect_kept(
        lambda: encode_rows(wide(pictures.clear()), 16, RGBA),
        "16-bit-to-8",
        "alpha-over-white",
        shows=pictures.over_white,
        within=0.01,
    ),
    "palette.png": expect_kept(palette, shows=pictures.flat, within=0.01),
    "palette-1-bit.png": expect_kept(
        lambda: png(scene().quantize(2, dither=Image.Dither.NONE)),
        shows=lambda: scene().quantize(2, dither=Image.Dither.NONE),
        within=0.01,
    ),
    "palette-transparent.png": expect_kept(lambda: palette(0), "alpha-over-white", shows=without_an_entry, within=0.01),
    "palette-opaque.png": expect_kept(
        lambda: png(pictures.flat(), transparency=b"\xff" * 8), shows=pictures.flat, within=0.01
    ),
    "rgb-one-colour-transparent.png": expect_kept(
        lambda: png(pictures.clear().convert("RGB"), transparency=(0, 0, 0)),
        "alpha-over-white",
        shows=pictures.over_white,
        within=0.01,
    ),
    "grey-16-bit-transparent.png": expect_kept(
        lambda: encode_rows(wide(pictures.clear().convert("L")), 16, GREY, chunk(b"tRNS", b"\0\0")),
        "16-bit-to-8",
        "alpha-over-white",
        shows=lambda: pictures.over_white().convert("L"),
        within=0.5,
    ),
    "rgba-opaque.png": expect_kept(lambda: png(scene().convert("RGBA")), shows=scene, within=0.01),
    "rgba-transparent.png": expect_kept(
        lambda: png(pictures.clear()), "alpha-over-white", shows=pictures.over_white, within=0.01
    ),
    "interlaced.png": expect_kept(interlaced, shows=scene, within=0.01),
    "animated.png": expect_kept(animated, "first-frame", shows=scene, within=0.01),
    "animated.apng": expect_kept(animated, "first-frame", shows=scene, within=0.01),
    "rotated.png": expect_kept(rotated, "exif-rotated", shows=scene, within=0.01),
    "profile-p3.png": expect_kept(p3, "icc-to-srgb", shows=scene),
    "profile-damaged.png": expect_kept(lambda: profiled(zlib.compress(b"\xab" * 300)), "icc-ignored", shows=scene),
    "annotated.png": expect_kept(annotated, shows=scene, within=0.01),
    "profile-bomb.png": expect_rejected(lambda: profiled(zlib.compress(bytes(200_000_000), 9)), "corrupt"),
    "text-bomb.png": expect_rejected(lambda: after_header(png(), text(200_000_000)), "corrupt"),
    "text-bombs.png": expect_rejected(lambda: after_header(png(), *[text(1_000_000)] * 80), "corrupt"),
    # All that is declared is there; libpng, and so a browser, shows it and leaves the rest.
    "pixels-bomb.png": expect_kept(more_pixels_than_declared, shows=scene, within=0.01),
    "bomb-60000.png": expect_rejected(lambda: bomb(60_000, 60_000), "too-large"),
    "bomb-2-31.png": expect_rejected(lambda: bomb(0x7FFFFFFF, 0x7FFFFFFF), "too-large"),
    "huge-white.png": expect_kept(white_bomb, shows=lambda: Image.new("L", (9, 9), "white"), within=0.01),
    "width-0.png": expect_rejected(lambda: bomb(0, 100), "corrupt"),
    "bad-sum-of-header.png": expect_rejected(lambda: with_bad_sum(png(), b"IHDR"), "corrupt"),
    "bad-sum-of-pixels.png": expect_rejected(lambda: with_bad_sum(png(), b"IDAT"), "corrupt"),
    # Its pixels may be whole, but bits of this file have flipped: a golden set can do without it.
    "bad-sum-of-text.png": expect_rejected(lambda: with_bad_sum(after_header(png(), text(10)), b"zTXt"), "corrupt"),
    "flipped.png": expect_rejected(make_flipped, "corrupt"),
    "flipped-stored.png": expect_rejected(stored_flipped, "corrupt"),
    "zeroed-middle.png": expect_rejected(zero_out(png, 0.4, 0.6), "corrupt"),
    "no-end.png": expect_kept(
        lambda: without(png(), b"IEND"), shows=scene, within=0.01
    ),  # every pixel is there, and its sum
    "no-pixels.png": expect_rejected(lambda: without(png(), b"IDAT"), "corrupt", "truncated"),
    "no-palette.png": expect_rejected(lambda: without(palette(), b"PLTE"), "corrupt"),
    "fewer-pixels.png": expect_rejected(fewer_pixels_than_declared, "corrupt", "truncated"),
    "chunk-too-long.png": expect_rejected(
        lambda: after_header(png(), b"\x7f\xff\xff\xfftEXtcomment"), "corrupt", "truncated"
    ),
    "depth-3.png": expect_rejected(lambda: SIGNATURE + header(WIDTH, HEIGHT, 3, RGB) + png()[33:], "corrupt"),
    "cut-10.png": expect_rejected(truncate(png, 0.1), "truncated"),
    "cut-50.png": expect_rejected(truncate(png, 0.5), "truncated"),
    "cut-in-header.png": expect_rejected(lambda: png()[:20], "corrupt", "truncated"),
    "cut-in-the-last-sum.png": expect_rejected(lambda: png()[:-14], "truncated", "corrupt"),
    "signature-only.png": expect_rejected(lambda: SIGNATURE, "corrupt", "truncated"),
    "png.jpg": expect_kept(png, "wrong-extension", shows=scene, within=0.01),
    "png.PNG": expect_kept(png, shows=scene, within=0.01),
    "1x1.png": expect_rejected(lambda: png(scene().resize((1, 1))), "too-small"),
    "1x300.png": expect_rejected(lambda: png(scene().resize((1, 300))), "too-small"),
    "2x900.png": expect_rejected(lambda: png(scene().resize((2, 900))), "extreme-aspect"),
    "2x300.png": expect_kept(lambda: png(scene().resize((2, 300))), shows=lambda: scene().resize((2, 300)), within=6),
}
