import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from images.corpus.jpeg import exif
from PIL import Image, ImageFile, ImageOps
from samples import draw_picture, encode_image

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.images.decode import decode
from ray_jobs.images.prepare import Reject
from ray_jobs.images.reject_reasons import REASONS, ImageRejected
from ray_jobs.images.resize import turn_upright
from ray_jobs.sources.source import SourceImage

IMAGES = Path(__file__).parents[3] / "demo" / "images"
FAULTY = json.loads((IMAGES / "faulty" / "expected.json").read_text())
USUAL = Preprocess()
WHOLE = Preprocess(filter="lanczos")  # decodes all of a JPEG


@pytest.mark.parametrize("name", sorted(FAULTY))
def test_every_faulty_file_ends_as_expected(name: str) -> None:
    data, expected = (IMAGES / "faulty" / name).read_bytes(), FAULTY[name]
    if expected["outcome"] == "kept":
        assert decode(data, USUAL, name).repairs == expected["repaired"]
    else:
        with pytest.raises(ImageRejected) as error:
            decode(data, USUAL, name)
        assert error.value.reason == expected["reason"]
        assert error.value.detail


def test_every_scene_and_photograph_is_kept_unrepaired() -> None:
    files = [path for path in IMAGES.rglob("*") if path.suffix in (".png", ".jpg") and path.parent.name != "faulty"]
    assert len(files) > 256
    assert [path.name for path in files if decode(path.read_bytes(), USUAL, path.name).repairs] == []


def test_pixels_are_as_the_file_has_them() -> None:
    image = draw_picture(size=(50, 30))
    image_decoded = decode(encode_image(image), USUAL)
    assert np.array_equal(image_decoded.pixels, np.asarray(image))
    assert (image_decoded.pixels.dtype.name, image_decoded.width, image_decoded.height, image_decoded.format) == (
        "uint8",
        50,
        30,
        "PNG",
    )
    assert (image_decoded.orientation, image_decoded.profile, image_decoded.repairs) == (1, None, [])


def grey_16(values: np.ndarray) -> bytes:
    return encode_image(Image.fromarray(values.astype(np.uint16)))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 256, 257, 514, 4096], [25700, 32896, 60000, 65534, 65535]])
    image_decoded = decode(grey_16(values), USUAL)
    grey = image_decoded.pixels[:, :, 0]
    assert image_decoded.repairs == ["16-bit-to-8"]
    assert np.abs(grey - values / 257).max() < 1
    assert (grey[0, 0], grey[1, 4]) == (0, 255)


def test_a_dark_sixteen_bit_image_stays_dark() -> None:
    assert decode(grey_16(np.full((4, 4), 200)), USUAL).pixels.max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_turns_as_pillow_turns(orientation: int, form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode_image(draw_picture(size=(64, 48)), form, exif=exif(orientation), **options)
    image_decoded = decode(data, WHOLE)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    assert (image_decoded.height, image_decoded.width) == expected.shape[:2]
    assert image_decoded.repairs == (["exif-rotated"] if orientation > 1 else [])
    assert np.abs(turn_upright(image_decoded.pixels, image_decoded.orientation) - expected).max() <= (
        0 if form != "JPEG" else 2
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.paste((200, 0, 0, 255), (0, 0, 4, 8))
    image_decoded = decode(encode_image(clear.convert(mode)), USUAL)
    assert image_decoded.pixels[4, 7].tolist() == [255, 255, 255]
    assert image_decoded.pixels[4, 1].tolist() != [255, 255, 255]
    assert image_decoded.repairs == ["alpha-over-white"]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_is_no_repair(mode: str) -> None:
    image_decoded = decode(encode_image(draw_picture().convert(mode)), USUAL)
    assert np.array_equal(image_decoded.pixels, np.asarray(draw_picture().convert(mode).convert("RGB")))
    assert image_decoded.repairs == []


def header_only(width: int, height: int) -> bytes:
    """A PNG of any size that has no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


SMALL = Preprocess(max_source_pixels=10_000)


@pytest.mark.parametrize(
    ("size", "limits", "reason"),
    [
        ((60_000, 60_000), USUAL, "too-large"),
        ((101, 100), SMALL, "too-large"),
        ((1, 1), USUAL, "too-small"),
        ((1, 100), USUAL, "too-small"),
        ((31, 100), Preprocess(min_side=32), "too-small"),
        ((2, 402), USUAL, "extreme-aspect"),
        ((100, 9), Preprocess(max_aspect=10), "extreme-aspect"),
        ((100, 100), SMALL, "truncated"),  # just inside: now the missing pixels count
    ],
)
def test_sizes_are_judged_by_the_header(size: tuple[int, int], limits: Preprocess, reason: str) -> None:
    with pytest.raises(ImageRejected) as error:
        decode(header_only(*size), limits)
    assert error.value.reason == reason


def test_a_size_just_inside_the_limits_is_kept() -> None:
    limits = Preprocess(max_source_pixels=10_000, max_aspect=10, min_side=10)
    assert decode(encode_image(draw_picture(size=(100, 100))), limits).pixels.shape == (100, 100, 3)
    assert decode(encode_image(draw_picture(size=(100, 10))), limits).pixels.shape == (10, 100, 3)


@pytest.mark.parametrize(
    ("name", "repairs"),
    [
        ("a.png", []),
        ("a.PNG", []),
        ("a.jpg", ["wrong-extension"]),
        ("folder.jpg/a.gif", ["wrong-extension"]),
        ("folder.jpg/a", []),
        ("a.jpg.part", []),
        ("a.", []),
        ("", []),
    ],
)
def test_only_the_extension_of_another_image_format_is_wrong(name: str, repairs: list[str]) -> None:
    assert decode(encode_image(draw_picture()), USUAL, name).repairs == repairs


@pytest.mark.parametrize(
    ("size", "image_decoded"), [((500, 375), (500, 375)), ((1280, 960), (640, 480)), ((4032, 3024), (504, 378))]
)
def test_a_jpeg_is_decoded_at_the_least_scale_that_has_the_pixels(
    size: tuple[int, int], image_decoded: tuple[int, int]
) -> None:
    """The target is 504x364. The reported size is still that of the original image."""
    data = encode_image(Image.linear_gradient("L").resize(size).convert("RGB"), "JPEG")
    fast, exact = decode(data, USUAL), decode(data, WHOLE)
    assert fast.pixels.shape[1::-1] == image_decoded
    assert exact.pixels.shape[1::-1] == size
    assert (fast.width, fast.height) == (exact.width, exact.height) == size


def originals() -> list[bytes]:
    image = draw_picture(size=(40, 30))
    forms: list[Callable[[], bytes]] = [
        lambda: encode_image(image, "JPEG", exif=exif(6)),
        lambda: encode_image(image, "JPEG", progressive=True),
        lambda: encode_image(image.convert("CMYK"), "JPEG"),
        lambda: encode_image(image, "PNG"),
        lambda: encode_image(image.convert("P"), "PNG", transparency=3),
        lambda: grey_16(np.arange(1200).reshape(30, 40) * 50),
        lambda: encode_image(
            image.convert("P"), "GIF", save_all=True, append_images=[draw_picture(1, (40, 30)).convert("P")]
        ),
        lambda: encode_image(image, "WEBP"),
        lambda: encode_image(image, "BMP"),
        lambda: encode_image(image, "TIFF", compression="tiff_lzw"),
        lambda: encode_image(image, "AVIF", max_threads=1),
        lambda: encode_image(image, "HEIF"),
    ]
    return [form() for form in forms]


ORIGINALS = originals()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    original=some.sampled_from(ORIGINALS),
    changes=some.lists(some.tuples(some.integers(0, 5000), some.binary(min_size=1, max_size=4)), max_size=5),
    keep=some.integers(0, 5000),
)
def test_hostile_bytes_are_an_image_or_rejected_and_nothing_else(
    original: bytes, changes: list[tuple[int, bytes]], keep: int
) -> None:
    data = bytearray(original)
    for where, patch in changes:
        where %= len(data)
        data[where : where + len(patch)] = patch
    if keep < 3000:
        del data[keep:]
    end = prepare_row(SourceImage("", bytes(data)), USUAL)
    if isinstance(end, Reject):
        assert end.reason in REASONS
    else:
        assert Image.open(io.BytesIO(end.image)).size == (end.width, end.height)


@pytest.mark.parametrize("error", [SyntaxError, ValueError, TypeError, struct.error, IndexError, zlib.error, EOFError])
def test_any_exception_of_a_codec_is_a_reject(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's codecs raised OSError, SyntaxError, ValueError and TypeError on 30 000 mutated files."""

    def raise_codec_error(_: ImageFile.ImageFile) -> None:
        raise error("broken")

    monkeypatch.setattr(ImageFile.ImageFile, "load", raise_codec_error)
    with pytest.raises(ImageRejected, match=r"corrupt: .*broken"):
        decode(encode_image(draw_picture()), USUAL)


def test_memory_that_is_not_there_is_not_the_images_doing(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_memory_error(_: ImageFile.ImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", raise_memory_error)
    with pytest.raises(MemoryError):
        decode(encode_image(draw_picture()), USUAL)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF"])
def test_a_file_cut_in_the_middle_is_rejected_rather_than_grey(form: str) -> None:
    data = encode_image(draw_picture(size=(200, 150)), form)
    with pytest.raises(ImageRejected) as error:
        decode(data[: len(data) // 2], USUAL)
    assert error.value.reason in ("truncated", "corrupt")


def test_originals_survive() -> None:
    sizes = [(size.width, size.height) for size in (decode(original, USUAL) for original in ORIGINALS)]
    assert sizes == [(30, 40)] + [(40, 30)] * (len(ORIGINALS) - 1)
