import json
import random
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat, UnidentifiedImageError

from demo import faulty, scenes


@pytest.fixture
def files(demo: Path) -> Path:
    return demo / "images" / "faulty"


def difference(image: Image.Image) -> float:
    """The mean difference, in grey levels, to the original picture of every faulty file."""
    return max(ImageStat.Stat(ImageChops.difference(image.convert("RGB"), faulty.draw_picture())).mean)


def test_the_committed_files_are_remade_byte_for_byte(files: Path, tmp_path: Path) -> None:
    faulty.main(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in files.iterdir())
    assert [name for name in names if (tmp_path / name).read_bytes() != (files / name).read_bytes()] == []


def test_every_file_is_expected_to_be_kept_or_rejected_for_a_known_reason(files: Path) -> None:
    expected = json.loads((files / "expected.json").read_text())
    assert sorted([*expected, "expected.json"]) == sorted(path.name for path in files.iterdir())
    for outcome in expected.values():
        if outcome["outcome"] == "kept":
            assert list(outcome) == ["outcome", "repaired"]
        else:
            assert outcome == {"outcome": "rejected", "reason": outcome["reason"]}
    reasons = {outcome["reason"] for outcome in expected.values() if outcome["outcome"] == "rejected"}
    assert reasons == set(faulty.REASONS)


@pytest.mark.parametrize("name", ["truncated.jpg", "truncated.png"])
def test_truncated_files_open_but_do_not_load(files: Path, name: str) -> None:
    with Image.open(files / name) as image, pytest.raises(OSError, match="image file is truncated"):
        image.load()


@pytest.mark.parametrize(
    ("name", "message"), [("corrupt.jpg", "broken data stream"), ("corrupt.png", "unrecognized data stream")]
)
def test_corrupt_files_are_complete_but_do_not_decode(files: Path, name: str, message: str) -> None:
    data = (files / name).read_bytes()
    assert data.endswith(b"\xff\xd9" if name.endswith("jpg") else b"IEND\xaeB`\x82")
    with Image.open(files / name) as image, pytest.raises(OSError, match=message):
        image.load()


def test_empty_file_and_web_page_are_no_images(files: Path) -> None:
    assert (files / "empty.jpg").read_bytes() == b""
    assert b"<html>" in (files / "html-in-disguise.jpg").read_bytes()
    for name in ("empty.jpg", "html-in-disguise.jpg"):
        with pytest.raises(UnidentifiedImageError):
            Image.open(files / name)


def test_the_bomb_is_small_and_claims_to_be_huge(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (files / "bomb.png").stat().st_size < 200
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89_478_485)  # Pillow's own, which the decoder sets
    with pytest.raises(Image.DecompressionBombError):
        Image.open(files / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert Image.open(files / "bomb.png").size == (60_000, 60_000)


def test_sizes_that_no_model_takes(files: Path) -> None:
    assert Image.open(files / "tiny.png").size == (1, 1)
    width, height = Image.open(files / "strip.png").size
    assert width / height > 200  # where Qwen's own image processor gives up


def test_disguised_png_is_the_picture(files: Path) -> None:
    assert faulty.FILES["png-in-disguise.jpg"][1] == faulty.expect_image("wrong-extension")
    with Image.open(files / "png-in-disguise.jpg") as image:
        assert image.format == "PNG"
        assert difference(image) == 0


def test_cmyk_jpeg_is_the_picture(files: Path) -> None:
    with Image.open(files / "cmyk.jpg") as image:
        assert (image.format, image.mode) == ("JPEG", "CMYK")
        assert difference(image) < 6


def test_sixteen_bit_png_uses_all_16_bits(files: Path) -> None:
    with Image.open(files / "sixteen-bit.png") as image:
        assert image.mode == "I;16"
        assert image.getextrema() == tuple(257 * value for value in faulty.draw_picture().convert("L").getextrema())


def test_palette_png_has_a_transparent_background(files: Path) -> None:
    with Image.open(files / "palette-alpha.png") as image:
        assert image.mode == "P"
        assert "transparency" in image.info
        alpha = image.convert("RGBA").getchannel("A")
        assert alpha.getpixel((scenes.SIDE - 1, 0)) == 0
        assert alpha.getpixel((28, 40)) == 255
        assert difference(image) < 3


def test_animation_begins_with_the_picture(files: Path) -> None:
    with Image.open(files / "animated.gif") as image:
        assert getattr(image, "n_frames") == 3  # noqa: B009  # only some formats have it
        assert difference(image) < 3
        image.seek(1)
        assert difference(image) > 20


def test_rotated_jpeg_is_the_picture_only_when_turned(files: Path) -> None:
    with Image.open(files / "rotated.jpg") as image:
        assert image.getexif()[0x0112] == 6
        assert difference(image) > 20
        assert difference(ImageOps.exif_transpose(image)) < 6


def test_the_picture_is_no_validation_image() -> None:
    assert faulty.SCENE not in scenes.list_held_out_scenes()
    assert faulty.draw_picture().tobytes() == scenes.draw(faulty.SCENE, random.Random(1)).tobytes()
