import os
from pathlib import Path

import pytest

from ray_jobs.checkpoints import readahead

SIZE = 2 * readahead.PIECE_BYTES + 3


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights that is on disk and not in the page cache."""
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(os.urandom(SIZE))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def cached(path: Path) -> bool:
    """Whether the page in the middle of the file is in the page cache."""
    with path.open("rb") as file:
        return readahead._is_page_cached(file.fileno(), SIZE // 2)


def test_weights_are_read_into_the_page_cache_once(weights: Path) -> None:
    if cached(weights):
        pytest.skip("this file system keeps pages that it was asked to drop")
    assert readahead.read_ahead(weights.parent) == SIZE
    assert cached(weights)
    assert readahead.read_ahead(weights.parent) == 0


def test_weights_that_would_push_out_other_pages_are_left_out(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readahead, "available_memory", lambda: SIZE)
    assert readahead.read_ahead(weights.parent) == 0


def test_a_container_has_the_memory_below_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readahead, "CGROUP", tmp_path)
    whole = readahead.available_memory()
    assert whole > 2**20
    (tmp_path / "memory.max").write_text("1048576\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert readahead.available_memory() == 48576
    (tmp_path / "memory.max").write_text("max\n")
    assert readahead.available_memory() > 2**20


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert readahead.read_ahead(tmp_path / "gone") == 0
