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
from making import encoded, picture
from PIL import Image, ImageFile

from ray_jobs.images.decode import Rejected, decode

IMAGES = Path(__file__).parents[3] / "demo" / "images"
FAULTY = json.loads((IMAGES / "faulty" / "expected.json").read_text())
LIMITS = (178_956_970, 200.0)


@pytest.mark.parametrize("name", sorted(FAULTY))
def test_every_faulty_file_ends_as_expected(name: str) -> None:
    data, expected = (IMAGES / "faulty" / name).read_bytes(), FAULTY[name]
    if expected["outcome"] == "kept":
        image, repairs = decode(data, *LIMITS)
        assert image.mode == "RGB"
        assert repairs == expected["repaired"]
    else:
        with pytest.raises(Rejected) as caught:
            decode(data, *LIMITS)
        assert caught.value.reason == expected["reason"]
        assert caught.value.detail


def test_every_scene_and_photograph_is_kept_unrepaired() -> None:
    files = [path for path in IMAGES.rglob("*") if path.suffix in (".png", ".jpg") and path.parent.name != "faulty"]
    assert len(files) > 256
    assert [path.name for path in files if decode(path.read_bytes(), *LIMITS)[1]] == []


def grey_16(values: np.ndarray) -> bytes:
    return encoded(Image.fromarray(values.astype(np.uint16)))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 256, 257, 514, 4096], [25700, 32896, 60000, 65534, 65535]])
    image, repairs = decode(grey_16(values), *LIMITS)
    grey = np.asarray(image)[:, :, 0]
    assert repairs == ["16-bit-to-8"]
    assert np.abs(grey - values / 257).max() < 1
    assert (grey[0, 0], grey[1, 4]) == (0, 255)


def test_a_dark_sixteen_bit_image_stays_dark() -> None:
    image, _ = decode(grey_16(np.full((4, 4), 200)), *LIMITS)
    assert np.asarray(image).max() <= 1


def test_an_orientation_is_applied() -> None:
    upright = Image.new("RGB", (20, 10), "black")
    upright.paste("white", (0, 0, 5, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise for viewing
    image, repairs = decode(encoded(upright, "JPEG", exif=exif, quality=95), *LIMITS)
    assert (image.size, repairs) == ((10, 20), ["exif-rotated"])
    assert np.asarray(image)[2, 5].min() > 250
    assert np.asarray(image)[15, 5].max() < 5


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.paste((200, 0, 0, 255), (0, 0, 4, 8))
    image, repairs = decode(encoded(clear.convert(mode)), *LIMITS)
    assert image.getpixel((7, 4)) == (255, 255, 255)
    assert image.getpixel((1, 4)) != (255, 255, 255)
    assert repairs == ["alpha-over-white"]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "CMYK"])
def test_every_usual_mode_becomes_rgb(mode: str) -> None:
    form = "JPEG" if mode == "CMYK" else "PNG"
    image, _ = decode(encoded(picture().convert(mode), form), *LIMITS)
    assert (image.mode, image.size) == ("RGB", picture().size)


def header_only(width: int, height: int) -> bytes:
    """A PNG of any size that has no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size", "limits", "reason"),
    [
        ((60_000, 60_000), LIMITS, "too-large"),
        ((101, 100), (10_000, 200.0), "too-large"),
        ((1, 1), LIMITS, "too-small"),
        ((1, 100), LIMITS, "too-small"),
        ((2, 402), LIMITS, "extreme-aspect"),
        ((100, 9), (10_000, 10.0), "extreme-aspect"),
    ],
)
def test_sizes_are_judged_by_the_header(size: tuple[int, int], limits: tuple[int, float], reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode(header_only(*size), *limits)
    assert caught.value.reason == reason


def test_a_size_just_inside_the_limits_is_kept() -> None:
    assert decode(encoded(picture(size=(100, 100))), 10_000, 10.0)[0].size == (100, 100)
    assert decode(encoded(picture(size=(100, 10))), 10_000, 10.0)[0].size == (100, 10)


def originals() -> list[bytes]:
    image = picture(size=(40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    forms: list[Callable[[], bytes]] = [
        lambda: encoded(image, "JPEG", exif=exif),
        lambda: encoded(image, "JPEG", progressive=True),
        lambda: encoded(image.convert("CMYK"), "JPEG"),
        lambda: encoded(image, "PNG"),
        lambda: encoded(image.convert("P"), "PNG", transparency=3),
        lambda: grey_16(np.arange(1200).reshape(30, 40) * 50),
        lambda: encoded(image.convert("P"), "GIF", save_all=True, append_images=[picture(1, (40, 30)).convert("P")]),
        lambda: encoded(image, "WEBP"),
        lambda: encoded(image, "BMP"),
        lambda: encoded(image, "TIFF", compression="tiff_lzw"),
    ]
    return [form() for form in forms]


ORIGINALS = originals()


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
    for where, what in changes:
        where %= len(data)
        data[where : where + len(what)] = what
    if keep < 3000:
        del data[keep:]
    try:
        image, _ = decode(bytes(data), *LIMITS)
    except Rejected:
        pass
    else:
        assert image.mode == "RGB"
        assert len(image.tobytes()) == 3 * image.width * image.height


@pytest.mark.parametrize("error", [SyntaxError, ValueError, TypeError, struct.error, IndexError, zlib.error, EOFError])
def test_whatever_a_codec_raises_is_a_reject(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen of Pillow's codecs in 30 000 mutated files: OSError, SyntaxError, ValueError and TypeError."""

    def broken(_: ImageFile.ImageFile) -> None:
        raise error("broken")

    monkeypatch.setattr(ImageFile.ImageFile, "load", broken)
    with pytest.raises(Rejected, match=r"corrupt: .*broken"):
        decode(encoded(picture()), *LIMITS)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_file_cut_in_the_middle_is_rejected_rather_than_grey(form: str) -> None:
    data = encoded(picture(size=(200, 150)), form)
    with pytest.raises(Rejected) as caught:
        decode(data[: len(data) // 2], *LIMITS)
    assert caught.value.reason in ("truncated", "corrupt", "not-an-image")


def test_originals_survive() -> None:
    for original in ORIGINALS:
        assert Image.open(io.BytesIO(original)).size in (decode(original, *LIMITS)[0].size, (40, 30))
