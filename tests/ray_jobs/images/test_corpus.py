"""Every file of the corpus ends as its entry says, shows the right picture, and stays within its memory limit."""

import io
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from images import corpus
from PIL import Image

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.dataset.image_formats import FORMATS
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.images.prepare import GoldenImage, Reject, prepare
from ray_jobs.images.reject_reasons import ImageRejected
from ray_jobs.sources.source import SourceImage

SETTINGS = Preprocess(format="png")
BOMBS = sorted(name for name in corpus.FILES if "bomb" in name or "claims" in name or "outside" in name)
MEGABYTES = 50

pytestmark = [
    pytest.mark.timeout(20),
    pytest.mark.filterwarnings("ignore:Corrupt EXIF data"),
    pytest.mark.filterwarnings("ignore:Truncated File Read"),
]


@cache
def read_file(name: str) -> bytes:
    return corpus.FILES[name].make()


def difference(golden: GoldenImage, expected_image: Image.Image) -> float:
    """Mean absolute difference of the worst channel, in levels of 8 bits, to the picture at the golden image's size."""
    expected = expected_image.convert("RGB").resize((golden.width, golden.height), Image.Resampling.LANCZOS)
    actual = np.asarray(Image.open(io.BytesIO(golden.image)), dtype=float)
    return float(np.abs(actual - np.asarray(expected, dtype=float)).mean(axis=(0, 1)).max())


@pytest.mark.parametrize("name", [name for name, file in corpus.FILES.items() if not file.reasons])
def test_a_file_that_is_to_be_kept_is_the_picture_with_these_repairs(name: str) -> None:
    file = corpus.FILES[name]
    golden = prepare(read_file(name), SETTINGS, name)
    assert golden.repairs == list(file.repairs)
    assert (golden.width % SETTINGS.patch, golden.height % SETTINGS.patch) == (0, 0)
    if file.shows:
        assert difference(golden, file.shows()) < file.within


@pytest.mark.parametrize("name", [name for name, file in corpus.FILES.items() if file.reasons])
def test_a_file_that_is_to_be_rejected_is_for_a_reason_of_its_table(name: str) -> None:
    with pytest.raises(ImageRejected) as error:
        prepare(read_file(name), SETTINGS, name)
    assert error.value.reason in corpus.FILES[name].reasons
    assert error.value.detail


def test_the_expected_picture_of_a_file_would_not_pass_for_another() -> None:
    """The bounds of the entries detect a turned, a mirrored and a recoloured picture."""
    golden = prepare(read_file("rgb.png"), SETTINGS)
    shows = corpus.FILES["rgb.png"].shows
    assert shows is not None
    scene = shows()
    wrong = [scene.transpose(turn) for turn in Image.Transpose]
    wrong += [scene.convert("L"), Image.merge("RGB", scene.split()[::-1]), scene.point(lambda value: value * 0.9)]
    assert min(difference(golden, picture) for picture in wrong) > 2 * max(
        file.within for file in corpus.FILES.values() if file.shows and file.shows() is scene
    )


@pytest.mark.slow
def test_the_corpus_is_broad() -> None:
    assert len(corpus.FILES) == sum(map(len, corpus.GROUPS)) >= 250
    golden_images = [prepare(read_file(name), SETTINGS) for name, file in corpus.FILES.items() if not file.reasons]
    assert {golden.format for golden in golden_images} == FORMATS.keys() - {"MPO"}
    reasons = {reason for file in corpus.FILES.values() for reason in file.reasons}
    assert reasons == {"empty", "not-an-image", "truncated", "corrupt", "too-large", "too-small", "extreme-aspect"}


@pytest.mark.slow
def test_a_written_corpus_ends_as_its_expected_json_says(tmp_path: Path) -> None:
    expected = corpus.write(tmp_path)
    assert json.loads((tmp_path / "expected.json").read_text()) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*expected, "expected.json"])
    outcomes = [prepare_row(SourceImage(name, None, tmp_path / name), SETTINGS) for name in expected]
    for (name, outcome), end in zip(expected.items(), outcomes, strict=True):
        if isinstance(end, Reject):
            assert outcome["outcome"] == "rejected", name
            assert end.reason in outcome["reasons"], name
        else:
            assert outcome == {"outcome": "kept", "repairs": end.repairs}, name


@pytest.mark.slow
def test_a_bomb_takes_no_more_memory_than_a_photograph(tmp_path: Path) -> None:
    """The peak memory of a separate process, thumbnails of rejected files included."""
    usual = tmp_path / "usual"
    usual.mkdir()
    for name in ("large.jpg", "rgb.png", "lossy.webp", "palette.bmp", "lzw.tiff", "plain.avif", "plain.heic"):
        (usual / name).write_bytes(read_file(name))
    for name in BOMBS:
        (tmp_path / name).write_bytes(read_file(name))
    paths = [str(tmp_path / name) for name in BOMBS]
    command = [sys.executable, str(Path(__file__).with_name("measure_memory.py")), str(usual), *paths]
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    grown = {name: int(megabytes) for name, megabytes in map(str.split, process.stdout.splitlines())}
    assert list(grown) == BOMBS
    assert {name: megabytes for name, megabytes in grown.items() if megabytes > MEGABYTES} == {}
