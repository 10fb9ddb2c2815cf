import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from images import corpus
from images.corpus import jpeg, pictures, profiles
from PIL import Image, ImageFile
from samples import draw_picture, encode_image

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.images.colour import to_srgb
from ray_jobs.images.decode import decode
from ray_jobs.images.prepare import GoldenImage, Reject, prepare, thumbnail
from ray_jobs.images.reject_reasons import REASONS, ImageRejected, Reason
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.sources.source import SourceImage

PHOTOS = Path(__file__).parents[3] / "demo" / "images" / "photos"
USUAL = Preprocess()
FAST, WHOLE = Preprocess(format="png"), Preprocess(format="png", filter="lanczos")


def read_pixels(golden: GoldenImage) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(golden.image)), dtype=float)


def photograph(name: str, size: tuple[int, int]) -> bytes:
    """A photograph of the demo at the size of a web page's image, a screen or a camera."""
    with Image.open(PHOTOS / f"{name}.jpg") as image:
        return encode_image(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), "JPEG", quality=90)


@pytest.mark.parametrize("size", [(500, 375), (1280, 960), (4000, 3000)])
@pytest.mark.parametrize("name", ["astronaut", "cat", "china", "coffee"])
def test_the_fast_filter_is_near_lanczos_of_all_pixels(name: str, size: tuple[int, int]) -> None:
    """At least 38 dB between the two: less than a JPEG of quality 90 takes away. Fine grass alone has less, 36 dB."""
    data = photograph(name, size)
    fast, exact = prepare(data, FAST), prepare(data, WHOLE)
    assert (fast.width, fast.height) == (exact.width, exact.height) == (504, 364)
    assert 10 * np.log10(255**2 / np.mean((read_pixels(fast) - read_pixels(exact)) ** 2)) >= 38


def test_lanczos_is_exactly_pillows_of_all_pixels() -> None:
    """Exact for a lossless file. For a JPEG the two builds of libjpeg-turbo may differ by one level."""
    image = draw_picture(size=(1280, 960))
    expected = image.resize((504, 364), Image.Resampling.LANCZOS)
    assert np.array_equal(read_pixels(prepare(encode_image(image), WHOLE)), np.asarray(expected))
    lossy = encode_image(image, "JPEG", quality=90, subsampling=0)
    with Image.open(io.BytesIO(lossy)) as original:
        expected = original.resize((504, 364), Image.Resampling.LANCZOS)
    assert np.abs(read_pixels(prepare(lossy, WHOLE)) - np.asarray(expected)).max() <= 2


def test_a_golden_image_says_what_it_was_made_from() -> None:
    data = encode_image(pictures.large().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=jpeg.exif(6))
    golden = prepare(data, USUAL, "a.png")
    assert (golden.source_width, golden.source_height) == pictures.large().size
    assert (golden.width, golden.height) == Image.open(io.BytesIO(golden.image)).size
    assert (golden.source_bytes, golden.blake3) == (len(data), blake3(data).digest())
    assert (golden.format, golden.repairs) == ("JPEG", ["wrong-extension", "exif-rotated"])
    assert golden.seconds.keys() == {"decode", "resize", "encode"}
    assert min(golden.seconds.values()) >= 0


@pytest.mark.parametrize("form", ["jpeg", "png"])
@pytest.mark.parametrize("filter", ["fast", "lanczos"])
def test_the_same_file_is_the_same_golden_image(form: str, filter: str) -> None:
    settings = Preprocess.model_validate({"format": form, "filter": filter})
    data = jpeg.large_420()
    assert prepare(data, settings) == prepare(bytes(bytearray(data)), settings)
    assert prepare(data, settings).image != prepare(jpeg.jpeg(pictures.mirrored()), settings).image


@pytest.mark.parametrize("primaries", [profiles.P3, profiles.ADOBE], ids=["p3", "adobe-rgb"])
def test_a_profile_after_resizing_is_a_profile_before_it(primaries: np.ndarray) -> None:
    """The profile is applied to fewer pixels. On edges, where the two may differ most, the mean is under one level."""
    profile = profiles.profile(primaries, 2.2)
    wide = Image.fromarray(np.asarray(profiles.seen_through(primaries.tobytes(), 2.2)))
    data = encode_image(wide.resize((1120, 560), Image.Resampling.BICUBIC), "PNG", icc_profile=profile)
    before: list[str] = []
    converted = to_srgb(decode(data, WHOLE).pixels, profile, before)
    expected = prepare(encode_image(Image.fromarray(converted)), WHOLE)
    after = prepare(data, WHOLE)
    assert after.repairs == before == ["icc-to-srgb"]
    assert np.abs(read_pixels(after) - read_pixels(expected)).mean() < 1
    assert np.abs(read_pixels(after) - read_pixels(prepare(encode_image(wide.resize((1120, 560))), WHOLE))).mean() > 5


def test_files_that_cannot_be_read_are_rejected_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "there.png").write_bytes(encode_image(draw_picture()))
    names = ["there.png", "missing.png", "folder", "there.png/inside.png"]
    outcomes = [prepare_row(SourceImage(name, None, tmp_path / name), USUAL) for name in names]
    outcomes.append(prepare_row(SourceImage("given", encode_image(draw_picture())), USUAL))
    assert [getattr(end, "reason", "kept") for end in outcomes] == ["kept", *["unreadable-source"] * 3, "kept"]
    assert isinstance(outcomes[1], Reject)
    assert outcomes[1].detail == f"{tmp_path}/missing.png: No such file or directory"
    assert outcomes[0] == outcomes[4]


def test_a_failing_disk_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_open(_: Path, flags: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ray_jobs.images.prepare.os.open", fail_to_open)
    with pytest.raises(RetryableError, match=r"cannot read /disk/a\.png: .*Input/output error"):
        prepare_row(SourceImage("a.png", None, Path("/disk/a.png")), USUAL)


def prepare_rejected(data: bytes) -> Reject:
    end = prepare_row(SourceImage("a", data), USUAL)
    assert isinstance(end, Reject)
    return end


@pytest.mark.parametrize("name", ["cut-50.jpg", "cut-50.png", "extraneous-many.jpg", "cut-50.tif", "cut-50-cmyk.jpg"])
def test_a_rejected_image_shows_what_can_be_seen_of_it(name: str) -> None:
    preview = prepare_rejected(corpus.FILES[name].make()).thumbnail
    assert preview is not None
    with Image.open(io.BytesIO(preview)) as image:
        assert (image.format, image.mode, max(image.size)) == ("JPEG", "RGB", 96)
        top = np.asarray(image)[:8].astype(int)
    expected = np.asarray(pictures.scene().resize((96, 48)))[:8]
    assert np.abs(top - expected).mean() < 30


@pytest.mark.parametrize("name", ["page.jpg", "empty.jpg", "bomb-60000.png", "signature-only.png", "drawing.eps"])
def test_of_what_is_no_image_or_too_large_there_is_nothing_to_show(name: str) -> None:
    assert prepare_rejected(corpus.FILES[name].make()).thumbnail is None


def test_a_thumbnail_leaves_the_decoder_as_strict_as_it_was() -> None:
    thumbnail(jpeg.jpeg()[:4000], USUAL)
    thumbnail(b"<html>", USUAL)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_survives_its_way_between_processes(reason: Reason) -> None:
    error = ImageRejected(reason, "on\ntwo   lines " + "x" * 400)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.reason, copy.detail) == (error.reason, error.detail)
    assert str(copy) == str(error) == f"{reason}: {error.detail}"
    assert error.detail.startswith("on two lines x")
    assert len(error.detail) == 300
