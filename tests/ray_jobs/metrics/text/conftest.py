"""Counting in this process, in small groups."""

from pathlib import Path

import pytest
from stored_captions import map_locally

from ray_jobs.metrics.text import corpus_counts


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tasks run in this process; a group has two parts, and there are several ranges."""
    monkeypatch.setattr(corpus_counts, "_run_on_ray", map_locally)
    monkeypatch.setattr(corpus_counts, "GROUP_ROWS", 8)
    monkeypatch.setattr(corpus_counts, "RANGE_ENTRIES", 64)
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
