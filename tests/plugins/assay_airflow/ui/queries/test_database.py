"""DuckDB opens nothing but the root and the cache, and no query takes all of the server."""

import os
from pathlib import Path

import duckdb
import pytest
from assay_airflow.ui.queries import database
from corpus_runs import find_run
from fastapi import HTTPException
from fastapi.testclient import TestClient


@pytest.fixture
def files(viewer: TestClient, pages_root: Path) -> Path:
    """The root, once the pages' database may read it."""
    return pages_root


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_text('{root}/../../../etc/passwd')",
        "SELECT * FROM read_text('{root}/link')",
        "COPY (SELECT 1) TO '/tmp/assay-pages-test.csv'",
        "ATTACH '/tmp/assay-pages-test.db'",
        "SELECT * FROM read_parquet('https://127.0.0.1/x.parquet')",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "INSTALL httpfs",
    ],
)
def test_other_files_and_settings_are_closed(files: Path, query: str) -> None:
    link = files / "link"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")
    try:
        with database.open_cursor() as cursor, pytest.raises(duckdb.Error):
            cursor.execute(query.format(root=files)).fetchall()
    finally:
        link.unlink()
    assert not Path("/tmp/assay-pages-test.csv").exists()


def test_a_query_that_takes_long_is_ended(files: Path) -> None:
    with pytest.raises(HTTPException) as refusal:
        database.fetch("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b", {}, seconds=0.2)
    assert refusal.value.status_code == 503
    assert "took more than 0.2 seconds" in refusal.value.detail


def test_more_queries_than_allowed_are_sent_away(
    viewer: TestClient, pages_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = {"right": find_run(pages_root, "step-0809")}
    assert viewer.get("/api/pairs", params=pair).status_code == 200
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.01)
    taken = [database._slots.acquire(blocking=False) for _ in range(database.AT_ONCE)]
    try:
        answer = viewer.get("/api/pairs", params=pair)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
    finally:
        for _ in filter(None, taken):
            database._slots.release()
    assert all(taken)
    assert viewer.get("/api/pairs", params=pair).status_code == 200


def test_a_slot_is_given_back_after_an_error(files: Path) -> None:
    for _ in range(2 * database.AT_ONCE):
        with pytest.raises(duckdb.Error):
            database.fetch("SELECT nothing", {})
    assert database.fetch("SELECT 1", {}) == [(1,)]


def test_memory_is_bounded(files: Path) -> None:
    (limit,) = database.fetch("SELECT current_setting('memory_limit')", {})[0]
    assert limit == "488.2 MiB"
    assert os.path.isdir(files)
