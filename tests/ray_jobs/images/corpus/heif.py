"""HEIC and AVIF: the formats of telephones, whose rotation is a property of the container."""

import io
from collections.abc import Callable

import pi_heif
import pillow_heif
from PIL import Image

from . import pictures, profiles
from .entry import File, encode_image, expect_kept, expect_rejected, truncate, zero_out
from .jpeg import exif
from .pictures import scene

pillow_heif.register_heif_opener()  # the writer
pi_heif.register_heif_opener()  # and the product's reader again, which the line before replaced


def avif(image: Image.Image | None = None, **options: object) -> bytes:
    return encode_image(image or scene(), "AVIF", **{"quality": 95, "subsampling": "4:4:4", "max_threads": 1} | options)


def heic(image: Image.Image | None = None, **options: object) -> bytes:
    return encode_image(image or scene(), "HEIF", **{"quality": 95, "chroma": 444} | options)


def second_is_primary() -> bytes:
    """Two images, of which the file names the second as the one to show."""
    sink = io.BytesIO()
    both = pillow_heif.from_pillow(pictures.mirrored())
    both.add_from_pillow(scene())
    both.save(sink, quality=95, chroma=444, primary_index=1)
    return sink.getvalue()


def on_its_side() -> Image.Image:
    return scene().transpose(Image.Transpose.ROTATE_90)


def p3(encode: Callable[..., bytes], **options: object) -> bytes:
    color = profiles.seen_through(profiles.P3.tobytes(), 2.2)
    return encode(color, icc_profile=profiles.profile(profiles.P3, 2.2), **options)


def not_heif(brand: bytes) -> bytes:
    """A film: the same container with another brand."""
    data = heic()
    return data[:8] + brand + data[12:16] + b"mp41" + data[20:]


FILES: dict[str, File] = {
    "plain.avif": expect_kept(avif, shows=scene, within=4),
    "subsampled.avif": expect_kept(lambda: avif(subsampling="4:2:0"), shows=scene, within=6),
    "grey.avif": expect_kept(lambda: avif(pictures.grey()), shows=pictures.grey, within=4),
    "rotated.avif": expect_kept(lambda: avif(on_its_side(), exif=exif(6)), "exif-rotated", shows=scene, within=4),
    "transparent.avif": expect_kept(
        lambda: avif(pictures.clear()), "alpha-over-white", shows=pictures.over_white, within=4
    ),
    "profile-p3.avif": expect_kept(lambda: p3(avif), "icc-to-srgb", shows=scene, within=4),
    "animated.avif": expect_kept(
        lambda: avif(save_all=True, append_images=[pictures.mirrored()]), "first-frame", shows=scene, within=4
    ),
    "cut-20.avif": expect_rejected(truncate(avif, 0.2), "truncated", "corrupt"),
    "cut-50.avif": expect_rejected(truncate(avif, 0.5), "truncated", "corrupt"),
    "cut-90.avif": expect_rejected(truncate(avif, 0.9), "truncated", "corrupt"),
    # There is no sum in AV1 or HEVC, and their arithmetic decoders take any bytes: this damage no reader can tell.
    "zeroed.avif": expect_kept(zero_out(avif, 0.3, 1), shows=None),
    "avif.jpg": expect_kept(avif, "wrong-extension", shows=scene, within=4),
    "plain.heic": expect_kept(heic, shows=scene, within=4),
    "plain.heif": expect_kept(heic, shows=scene, within=4),
    "subsampled.heic": expect_kept(lambda: heic(chroma=420), shows=scene, within=6),
    "grey.heic": expect_kept(lambda: heic(pictures.grey()), shows=pictures.grey, within=4),
    # libheif turns the image itself; nothing is left to repair.
    "rotated.heic": expect_kept(lambda: heic(on_its_side(), exif=exif(6)), shows=scene, within=4),
    "transparent.heic": expect_kept(
        lambda: heic(pictures.clear()), "alpha-over-white", shows=pictures.over_white, within=4
    ),
    "profile-p3.heic": expect_kept(lambda: p3(heic), "icc-to-srgb", shows=scene, within=4),
    "second-is-primary.heic": expect_kept(second_is_primary, "first-frame", shows=scene, within=4),
    "cut-20.heic": expect_rejected(truncate(heic, 0.2), "truncated", "corrupt"),
    "cut-50.heic": expect_rejected(truncate(heic, 0.5), "truncated", "corrupt"),
    "cut-90.heic": expect_rejected(truncate(heic, 0.9), "truncated", "corrupt"),
    "zeroed.heic": expect_kept(zero_out(heic, 0.3, 1), shows=None),
    "heic.jpg": expect_kept(heic, "wrong-extension", shows=scene, within=4),  # as telephones share them
    "film.heic": expect_rejected(lambda: not_heif(b"isom"), "not-an-image"),
}
