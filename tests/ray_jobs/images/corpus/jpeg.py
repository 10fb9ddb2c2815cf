"""JPEG: its kinds of colour, its EXIF, its profiles, and the ways in which its data is damaged."""

import struct
from collections.abc import Iterator
from functools import partial

import numpy as np
import simplejpeg
from PIL import Image

from . import pictures, profiles
from .entry import File, Make, encode_image, expect_kept, expect_rejected, truncate, zero_out
from .pictures import scene

ORIENTATION = 0x0112
STORED = {  # orientation -> what stores an upright picture so (the inverse of what shows it)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def jpeg(image: Image.Image | None = None, **options: object) -> bytes:
    return encode_image(image or scene(), "JPEG", **{"quality": 95, "subsampling": 0} | options)


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, first byte, byte after the last) of every segment up to the coded data."""
    position = 2
    while data[position + 1] != 0xDA:
        after = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        yield data[position + 1], position, after
        position = after
    yield 0xDA, position, position + 2 + struct.unpack_from(">H", data, position + 2)[0]


def without(data: bytes, marker: int) -> bytes:
    for marker_found, begin, after in segments(data):
        if marker_found == marker:
            return data[:begin] + data[after:]
    raise AssertionError(f"no segment {marker:#x}")


def patch_segment(data: bytes, marker: int, offset: int, value: bytes) -> bytes:
    """The data with `value` written into the first segment of that marker, `offset` bytes after its 0xff."""
    begin = next(begin for marker_found, begin, _ in segments(data) if marker_found == marker)
    return data[: begin + offset] + value + data[begin + offset + len(value) :]


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def find_coded_data(data: bytes) -> int:
    """The position of the coded data."""
    return next(after for marker, _, after in segments(data) if marker == 0xDA)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def make_turned(orientation: int) -> bytes:
    """A file as a camera in that orientation stores it."""
    return jpeg(scene().transpose(STORED[orientation]), exif=exif(orientation))


def with_thumbnail() -> bytes:
    """A camera's EXIF: another JPEG inside the first segment."""
    small = jpeg(pictures.mirrored().resize((64, 32)))
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 14)
    entries = struct.pack("<HHII", 0x201, 4, 1, 14 + 30) + struct.pack("<HHII", 0x202, 4, 1, len(small))
    return with_segment(jpeg(), 0xE1, b"Exif\0\0" + head + struct.pack("<H", 2) + entries + bytes(4) + small)


def mpo() -> bytes:
    """Two JPEGs in one file, as stereo cameras and telephones with depth write them."""
    return encode_image(scene(), "MPO", quality=95, subsampling=0, save_all=True, append_images=[pictures.mirrored()])


def cmyk(**options: object) -> bytes:
    return jpeg(pictures.cmyk(), **options)


def ycck() -> bytes:
    """Adobe's own: luma and chroma of the inverted inks, and black."""
    return bytes(simplejpeg.encode_jpeg(255 - pictures.to_cmyk(scene()), 95, colorspace="CMYK", colorsubsampling="444"))


def stored_as_rgb() -> bytes:
    """No luma and chroma: Adobe's marker says transform 0."""
    return encode_image(scene(), "JPEG", quality=95, keep_rgb=True)


def adobe_rgb_marker() -> bytes:
    """The same, told by Adobe's marker and not by the names of the components."""
    data = stored_as_rgb()
    for marker_found, begin, _ in segments(data):
        if marker_found in (0xC0, 0xDA):
            first, step = (begin + 10, 3) if marker_found == 0xC0 else (begin + 5, 2)
            renamed = bytearray(data)
            renamed[first], renamed[first + step], renamed[first + 2 * step] = 1, 2, 3
            data = bytes(renamed)
    if any(marker_found == 0xEE for marker_found, _, _ in segments(data)):
        data = without(data, 0xEE)
    return with_segment(data, 0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0))


def in_profile(primaries: np.ndarray, gamma: float) -> bytes:
    pixels = profiles.seen_through(primaries.tobytes(), gamma)
    return jpeg(pixels, icc_profile=profiles.profile(primaries, gamma), quality=98)


def before_end(extra: bytes) -> bytes:
    data = jpeg()
    return data[:-2] + extra + data[-2:]


def flip_bits(data: bytes, where: float = 0.3, length: int = 200) -> bytes:
    """Flip bits of the coded data, so that the Huffman codes after them decode to something else."""
    begin = find_coded_data(data)
    position = begin + int((len(data) - begin) * where)
    return (
        data[:position] + bytes(byte ^ 0x55 for byte in data[position : position + length]) + data[position + length :]
    )


def with_bad_table() -> bytes:
    data = jpeg()
    return patch_segment(data, 0xC4, 5, b"\xff" * 16)


def cut_before(number: int) -> Make:
    """The data up to a marker's first byte, as after a broken connection."""

    def make_start() -> bytes:
        data = jpeg(exif=exif(1))
        return data[: list(segments(data))[number][1]]

    return make_start


def without_its_last_scan() -> bytes:
    """A progressive JPEG without its end: it is a complete picture, only blurred."""
    data = jpeg(progressive=True)
    return data[: data.rindex(b"\xff\xda")]


def restarts_mixed_up() -> bytes:
    data = jpeg(restart_marker_blocks=4)
    return data.replace(b"\xff\xd2", b"\xff\xd5", 1)


def large_420() -> bytes:
    return jpeg(pictures.large(), subsampling=2)


MARKERS = 7

FILES: dict[str, File] = {
    "baseline.jpg": expect_kept(jpeg, shows=scene),
    "subsampled.jpeg": expect_kept(lambda: jpeg(subsampling=2), shows=scene, within=5),
    "subsampled-422.jpg": expect_kept(lambda: jpeg(subsampling=1), shows=scene, within=4),
    "subsampled-440.jpg": expect_kept(
        lambda: simplejpeg.encode_jpeg(np.asarray(scene()), 95, colorsubsampling="440"), shows=scene, within=4
    ),
    "progressive.jpg": expect_kept(lambda: jpeg(progressive=True), shows=scene),
    "large.jpg": expect_kept(large_420, shows=pictures.large, within=3),
    "large-progressive.jpg": expect_kept(lambda: jpeg(pictures.large(), progressive=True), shows=pictures.large),
    "grey.jpg": expect_kept(lambda: jpeg(pictures.grey()), shows=pictures.grey),
    "restarts.jpg": expect_kept(lambda: jpeg(restart_marker_blocks=4), shows=scene),
    "cmyk-adobe.jpg": expect_kept(cmyk, "cmyk-to-rgb", shows=scene),
    # Nobody says what inks without Adobe's marker mean. Chrome and Pillow take them as Adobe's, inverted; so are these.
    "cmyk-no-marker.jpg": expect_kept(lambda: without(cmyk(), 0xEE), "cmyk-to-rgb", shows=scene),
    "ycck.jpg": expect_kept(ycck, "cmyk-to-rgb", shows=scene),
    "cmyk-profile.jpg": expect_kept(
        lambda: jpeg(profiles.bands(profiles.INKS, "CMYK"), icc_profile=profiles.ink_profile()),
        "cmyk-to-rgb",
        "icc-to-srgb",
        shows=lambda: profiles.bands(profiles.printed(), "RGB"),
    ),
    "cmyk-rgb-profile.jpg": expect_kept(
        lambda: cmyk(icc_profile=profiles.profile(profiles.P3, 2.2)), "cmyk-to-rgb", "icc-ignored", shows=scene
    ),
    "rgb-components.jpg": expect_kept(stored_as_rgb, shows=scene),
    "rgb-adobe-transform-0.jpg": expect_kept(adobe_rgb_marker, shows=scene),
    "two-in-one.mpo": expect_kept(mpo, shows=scene),  # the first is the photograph, the others are views of the same
    "two-in-one.jpg": expect_kept(mpo, shows=scene),
    "thumbnail-in-exif.jpg": expect_kept(with_thumbnail, shows=scene),
    "exif-damaged.jpg": expect_kept(
        lambda: with_segment(jpeg(), 0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xab" * 40), shows=scene
    ),
    "exif-cut.jpg": expect_kept(lambda: with_segment(jpeg(), 0xE1, exif(6)[:18]), shows=scene),
    "exif-loop.jpg": expect_kept(
        lambda: with_segment(jpeg(), 0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0"), shows=scene
    ),
    "orientation-0.jpg": expect_kept(lambda: jpeg(exif=exif(0)), shows=scene),
    "orientation-1.jpg": expect_kept(lambda: jpeg(exif=exif(1)), shows=scene),
    **{
        f"orientation-{number}.jpg": expect_kept(partial(make_turned, number), "exif-rotated", shows=scene)
        for number in STORED
    },
    "orientation-9.jpg": expect_kept(lambda: jpeg(exif=exif(9)), shows=scene),
    "orientation-65535.jpg": expect_kept(lambda: jpeg(exif=exif(65535)), shows=scene),
    "orientation-6-large.jpg": expect_kept(
        lambda: jpeg(pictures.large().transpose(STORED[6]), exif=exif(6)), "exif-rotated", shows=pictures.large
    ),
    "profile-p3.jpg": expect_kept(lambda: in_profile(profiles.P3, 2.2), "icc-to-srgb", shows=scene),
    "profile-adobe-rgb.jpg": expect_kept(lambda: in_profile(profiles.ADOBE, 2.2), "icc-to-srgb", shows=scene),
    "profile-swapped.jpg": expect_kept(lambda: in_profile(profiles.SWAPPED, 2.2), "icc-to-srgb", shows=scene),
    "profile-linear.jpg": expect_kept(lambda: in_profile(profiles.SRGB, 1.0), "icc-to-srgb", shows=scene),
    "profile-srgb.jpg": expect_kept(
        lambda: jpeg(icc_profile=profiles.profile(profiles.SRGB, 2.2, name="sRGB IEC61966-2.1")), shows=scene
    ),
    "profile-grey.jpg": expect_kept(
        lambda: jpeg(profiles.grey_seen_through(1.0), icc_profile=profiles.profile(None, 1.0, b"GRAY"), quality=98),
        "icc-to-srgb",
        shows=pictures.grey,
    ),
    "profile-damaged.jpg": expect_kept(lambda: jpeg(icc_profile=b"\xab" * 500), "icc-ignored", shows=scene),
    "profile-cut.jpg": expect_kept(
        lambda: jpeg(icc_profile=profiles.profile(profiles.P3, 2.2)[:200]), "icc-ignored", shows=scene
    ),
    "profile-short.jpg": expect_kept(lambda: jpeg(icc_profile=b"abc"), "icc-ignored", shows=scene),
    "profile-of-inks.jpg": expect_kept(lambda: jpeg(icc_profile=profiles.ink_profile()), "icc-ignored", shows=scene),
    "profile-of-grey.jpg": expect_kept(
        lambda: jpeg(icc_profile=profiles.profile(None, 1.0, b"GRAY")), "icc-ignored", shows=scene
    ),
    "grey-damaged-profile.jpg": expect_kept(
        lambda: jpeg(pictures.grey(), icc_profile=b"\xab" * 500), "icc-ignored", shows=pictures.grey
    ),
    "extraneous-few.jpg": expect_kept(lambda: before_end(b"\x12" * 16), "extraneous-bytes", shows=scene),
    "extraneous-many.jpg": expect_rejected(lambda: before_end(b"\x12" * 700), "corrupt"),
    "cmyk-extraneous.jpg": expect_kept(
        lambda: cmyk()[:-2] + b"\x12" * 16 + b"\xff\xd9", "extraneous-bytes", "cmyk-to-rgb", shows=scene
    ),
    "trailing-junk.jpg": expect_kept(lambda: jpeg() + b"\0" * 512 + b"<html>", shows=scene),
    "two-starts.jpg": expect_rejected(lambda: b"\xff\xd8" + jpeg(), "corrupt", "not-an-image"),
    # Without its end nothing says that a scan, or the last rows of one, are not missing too.
    "no-end.jpg": expect_rejected(lambda: jpeg()[:-2], "truncated"),
    "no-end-progressive.jpg": expect_rejected(without_its_last_scan, "truncated"),
    "cut-10.jpg": expect_rejected(truncate(jpeg, 0.1), "truncated"),
    "cut-50.jpg": expect_rejected(truncate(jpeg, 0.5), "truncated"),
    "cut-90.jpg": expect_rejected(truncate(jpeg, 0.9), "truncated"),
    "cut-90-large.jpg": expect_rejected(truncate(large_420, 0.9), "truncated"),
    "cut-50-progressive.jpg": expect_rejected(truncate(lambda: jpeg(progressive=True), 0.5), "truncated"),
    "cut-50-grey.jpg": expect_rejected(truncate(lambda: jpeg(pictures.grey()), 0.5), "truncated"),
    "cut-50-cmyk.jpg": expect_rejected(truncate(cmyk, 0.5), "truncated"),
    "cut-50-ended.jpg": expect_rejected(lambda: truncate(jpeg, 0.5)() + b"\xff\xd9", "corrupt", "truncated"),
    **{
        f"cut-before-segment-{number}.jpg": expect_rejected(cut_before(number), "truncated", "corrupt")
        for number in range(1, MARKERS)
    },
    # JPEG has no checksum: flipped bits that end on the same block boundary are a wrong colour that nobody can tell.
    "flipped.jpg": expect_rejected(lambda: flip_bits(jpeg()), "corrupt"),
    "flipped-420.jpg": expect_rejected(lambda: flip_bits(large_420()), "corrupt"),
    "flipped-grey.jpg": expect_rejected(lambda: flip_bits(jpeg(pictures.grey())), "corrupt"),
    "flipped-grey-profile.jpg": expect_rejected(
        lambda: flip_bits(jpeg(pictures.grey(), icc_profile=profiles.profile(None, 1.0, b"GRAY"))), "corrupt"
    ),
    "flipped-cmyk.jpg": expect_rejected(lambda: flip_bits(cmyk()), "corrupt"),
    "flipped-progressive.jpg": expect_rejected(lambda: flip_bits(jpeg(progressive=True)), "corrupt"),
    "zeroed-middle.jpg": expect_rejected(zero_out(large_420, 0.4, 0.6), "corrupt"),
    "zeroed-end.jpg": expect_rejected(zero_out(large_420, 0.6, 1), "corrupt", "truncated"),
    "restarts-mixed-up.jpg": expect_rejected(restarts_mixed_up, "corrupt"),
    "huffman-table.jpg": expect_rejected(with_bad_table, "corrupt"),
    "no-quantization.jpg": expect_rejected(lambda: without(jpeg(), 0xDB), "corrupt"),
    "arithmetic.jpg": expect_rejected(lambda: patch_segment(jpeg(), 0xC0, 1, b"\xc9"), "corrupt"),
    "lossless.jpg": expect_rejected(lambda: patch_segment(jpeg(), 0xC0, 1, b"\xc3"), "corrupt"),
    "12-bit.jpg": expect_rejected(lambda: patch_segment(jpeg(), 0xC0, 4, b"\x0c"), "corrupt"),
    "2-components.jpg": expect_rejected(lambda: patch_segment(jpeg(), 0xC0, 9, b"\x02"), "corrupt"),
    "height-0.jpg": expect_rejected(
        lambda: patch_segment(jpeg(), 0xC0, 5, b"\0\0"), "corrupt"
    ),  # DNL: the height comes at the end
    "width-0.jpg": expect_rejected(lambda: patch_segment(jpeg(), 0xC0, 7, b"\0\0"), "corrupt"),
    "claims-65500.jpg": expect_rejected(
        lambda: patch_segment(jpeg(), 0xC0, 5, struct.pack(">HH", 65500, 65500)), "too-large"
    ),
    "claims-twice-the-height.jpg": expect_rejected(
        lambda: patch_segment(jpeg(), 0xC0, 5, struct.pack(">H", 224)), "corrupt", "truncated"
    ),
    "claims-half-the-height.jpg": expect_rejected(
        lambda: patch_segment(jpeg(), 0xC0, 5, struct.pack(">H", 56)), "corrupt"
    ),
    "segment-too-long.jpg": expect_rejected(
        lambda: patch_segment(jpeg(), 0xDB, 2, b"\xff\xff"), "corrupt", "truncated"
    ),
    "start-only.jpg": expect_rejected(lambda: b"\xff\xd8\xff", "truncated", "corrupt"),
    "jpeg.png": expect_kept(jpeg, "wrong-extension", shows=scene),
    "jpeg.JFIF": expect_kept(jpeg, shows=scene),
    "jpeg-without-extension": expect_kept(jpeg, shows=scene),
    "jpeg.jpg.download": expect_kept(jpeg, shows=scene),
}
