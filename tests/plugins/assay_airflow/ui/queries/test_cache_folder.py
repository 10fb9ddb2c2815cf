"""The pages' cache stays below its limit: what was used last stays."""

import os
from pathlib import Path

import pytest
from assay_airflow.ui.queries.cache_folder import find_pages_cache, read_limit, trim

from ray_jobs.inputs.errors import InputError


def make_file(path: Path, size: int, used_at: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (used_at, used_at))
    return path


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    old, middle, new = (make_file(tmp_path / name, 100, when) for name, when in (("a", 30), ("b", 10), ("c", 20)))
    trim(tmp_path, 250, keep=set())
    assert (old.exists(), middle.exists(), new.exists()) == (True, False, True)


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    kept, other = make_file(tmp_path / "a", 100, 1), make_file(tmp_path / "b", 100, 2)
    trim(tmp_path, 10, keep={kept})
    assert kept.exists()
    assert not other.exists()


def test_a_table_goes_as_a_whole(tmp_path: Path) -> None:
    make_file(tmp_path / "table" / "numbers-00000.parquet", 100, 1)
    trim(tmp_path, 10, keep=set())
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    folder = find_pages_cache()
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in folder.iterdir()) == ["parts", "spill", "tables"]


@pytest.mark.parametrize("text", ["0", "-1", "many", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PAGES_CACHE_GB", text)
    with pytest.raises(InputError, match="ASSAY_PAGES_CACHE_GB"):
        read_limit()
