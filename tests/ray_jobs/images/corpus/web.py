"""WebP and GIF: transparency, animation, and ends that are missing."""

import struct

from PIL import Image

from . import pictures, profiles
from .entry import File, encode_image, expect_kept, expect_rejected, truncate, zero_out
from .jpeg import exif
from .pictures import HEIGHT, WIDTH, scene


def webp(image: Image.Image | None = None, **options: object) -> bytes:
    return encode_image(image or scene(), "WEBP", **{"quality": 95} | options)


def lossless(image: Image.Image | None = None, **options: object) -> bytes:
    return webp(image, lossless=True, exact=True, **options)


def gif(image: Image.Image | None = None, **options: object) -> bytes:
    return encode_image(image or pictures.flat(), "GIF", **options)


def animated_gif() -> bytes:
    return gif(save_all=True, append_images=[pictures.mirrored().quantize(8)], duration=100, loop=0)


def animated_webp() -> bytes:
    return lossless(save_all=True, append_images=[pictures.mirrored()], duration=100)


def wrong_canvas() -> bytes:
    """An extended WebP whose canvas is half as wide as the image in it."""
    data = webp(exif=exif(1))
    assert data[12:16] == b"VP8X"
    return data[:24] + struct.pack("<I", WIDTH // 2 - 1)[:3] + data[27:]


def p3_webp() -> bytes:
    pixels = profiles.seen_through(profiles.P3.tobytes(), 2.2)
    return lossless(pixels, icc_profile=profiles.profile(profiles.P3, 2.2))


def gif_87a() -> bytes:
    data = gif()
    return b"GIF87a" + data[6:]


def frames(data: bytes) -> list[int]:
    """Where the image descriptors of a GIF begin (GIF89a, 20)."""
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    positions = []
    while data[position] != 0x3B:
        if data[position] == 0x2C:
            positions.append(position)
            position += 10 + (3 << (data[position + 9] & 7) + 1 if data[position + 9] & 0x80 else 0) + 1
        else:
            position += 2
        while data[position]:
            position += data[position] + 1
        position += 1
    return positions


def small_first_frame() -> bytes:
    """The picture's left part on a screen as large as the whole picture."""
    left_half = gif(pictures.flat().crop((0, 0, 144, HEIGHT)))
    return left_half[:6] + struct.pack("<HH", WIDTH, HEIGHT) + left_half[10:]


def shows_small_first_frame() -> Image.Image:
    image = pictures.flat().convert("RGB")
    palette = pictures.flat().getpalette() or []
    image.paste(tuple(palette[:3]), (144, 0, WIDTH, HEIGHT))
    return image


def ends_early() -> bytes:
    """A GIF whose LZW data has its end code and only half of the rows."""
    half = gif(pictures.flat().crop((0, 0, WIDTH, HEIGHT // 2)))
    position = frames(half)[0]
    size = struct.pack("<HH", WIDTH, HEIGHT)
    return half[:6] + size + half[10 : position + 5] + size + half[position + 9 :]


def no_frames() -> bytes:
    data = gif()
    return data[: 13 + (3 << (data[10] & 7) + 1)] + b";"


def second_frame_cut() -> bytes:
    data = animated_gif()
    position = frames(data)[1]
    return data[: position + (len(data) - position) // 2]


def first_frame_cut() -> bytes:
    data = animated_gif()
    return data[: frames(data)[1] // 2]


# Found by dev/fuzz_decode.py: a first frame far outside its small screen, for which Pillow makes room as it opens it.
FRAME_BOMB = (
    "474946383961e0007000820000cccd4bb2975631443d4a50454754a5bc4116010000000000000021"
    "f904fd0a0000002c00003e00e0d8ffe000700048080039e52ccf2b5b30c27b9a97000000000c"
)

FILES: dict[str, File] = {
    "lossy.webp": expect_kept(webp, shows=scene, within=5),
    "lossless.webp": expect_kept(lossless, shows=scene, within=0.01),
    "grey.webp": expect_kept(lambda: lossless(pictures.grey()), shows=pictures.grey, within=0.01),
    "transparent.webp": expect_kept(
        lambda: lossless(pictures.clear()), "alpha-over-white", shows=pictures.over_white, within=0.01
    ),
    "opaque.webp": expect_kept(lambda: lossless(scene().convert("RGBA")), shows=scene, within=0.01),
    "animated.webp": expect_kept(animated_webp, "first-frame", shows=scene, within=0.01),
    "rotated.webp": expect_kept(
        lambda: lossless(scene().transpose(Image.Transpose.ROTATE_90), exif=exif(6)),
        "exif-rotated",
        shows=scene,
        within=0.01,
    ),
    "profile-p3.webp": expect_kept(p3_webp, "icc-to-srgb", shows=scene),
    "wrong-canvas.webp": expect_rejected(wrong_canvas, "corrupt"),
    "cut-10.webp": expect_rejected(truncate(webp, 0.1), "truncated", "corrupt"),
    "cut-50.webp": expect_rejected(truncate(webp, 0.5), "truncated", "corrupt"),
    "cut-90.webp": expect_rejected(truncate(lossless, 0.9), "truncated", "corrupt"),
    "header-only.webp": expect_rejected(lambda: webp()[:12], "truncated", "corrupt", "not-an-image"),
    # There is no sum in WebP, and zeros are pixels to its decoder: this damage no reader can tell.
    "zeroed-middle.webp": expect_kept(zero_out(lossless, 0.3, 0.7), shows=None),
    "webp.jpg": expect_kept(webp, "wrong-extension", shows=scene, within=5),
    "gif89a.gif": expect_kept(gif, shows=pictures.flat, within=0.01),
    "gif87a.gif": expect_kept(gif_87a, shows=pictures.flat, within=0.01),
    "interlaced.gif": expect_kept(lambda: gif(interlace=1), shows=pictures.flat, within=0.01),
    "not-interlaced.gif": expect_kept(lambda: gif(interlace=0), shows=pictures.flat, within=0.01),
    "animated.gif": expect_kept(animated_gif, "first-frame", shows=pictures.flat, within=0.01),
    "transparent.gif": expect_kept(
        lambda: gif(pictures.clear()), "alpha-over-white", shows=pictures.over_white, within=16
    ),  # a palette of 256 colours
    # Around the frame is the background colour (GIF89a, 18), though browsers leave it clear.
    "small-first-frame.gif": expect_kept(small_first_frame, shows=shows_small_first_frame, within=0.01),
    "first-frame-cut.gif": expect_rejected(first_frame_cut, "truncated"),
    "second-frame-cut.gif": expect_kept(second_frame_cut, "first-frame", shows=pictures.flat, within=0.01),
    "ends-early.gif": expect_rejected(ends_early, "truncated", "corrupt"),
    "no-frames.gif": expect_rejected(no_frames, "corrupt", "truncated"),
    "no-end.gif": expect_kept(lambda: gif()[:-1], shows=pictures.flat, within=0.01),
    "cut-50.gif": expect_rejected(truncate(gif, 0.5), "truncated"),
    "zeroed-middle.gif": expect_rejected(zero_out(gif, 0.4, 0.6), "corrupt", "truncated"),
    "signature-only.gif": expect_rejected(lambda: b"GIF89a", "corrupt", "truncated", "not-an-image"),
    "frame-bomb.gif": expect_rejected(lambda: bytes.fromhex(FRAME_BOMB), "too-large"),
    "claims-65535.gif": expect_rejected(lambda: gif()[:6] + b"\xff\xff\xff\xff" + gif()[10:], "too-large"),
}
