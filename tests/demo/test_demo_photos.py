from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from demo import photos

FREE = ("public domain", "CC0 1.0", "CC BY 2.0", "no known copyright restrictions")


@pytest.fixture
def folder(demo: Path) -> Path:
    return demo / "images" / "photos"


def test_every_photograph_is_a_small_jpeg_of_a_stated_source(folder: Path) -> None:
    assert sorted(path.stem for path in folder.glob("*.jpg")) == sorted(photos.SOURCES)
    assert len(photos.SOURCES) == 12
    for path in folder.glob("*.jpg"):
        with Image.open(path) as image:
            image.load()
            assert (image.format, image.mode, max(image.size) <= 448) == ("JPEG", "RGB", True), path.name
            assert not image.getexif()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 600_000


def test_every_photograph_names_its_author_and_a_free_licence(folder: Path) -> None:
    text = (folder / "SOURCES.md").read_text()
    for name, (package, file, shows, licence, author) in photos.SOURCES.items():
        assert f"| {name}.jpg | {shows} | {package}, `{file}` | {author} | {licence} |" in text
        assert licence in FREE
    assert "https://creativecommons.org/licenses/by/2.0/" in text


@pytest.mark.skipif(not (find_spec("skimage") and find_spec("sklearn")), reason="needs the assets dependency group")
def test_the_photographs_are_remade(folder: Path, tmp_path: Path) -> None:
    photos.main(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name
