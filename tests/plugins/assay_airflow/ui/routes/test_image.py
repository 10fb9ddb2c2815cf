"""`api/image`: the bytes as they are stored, typed by their first bytes, for runs that the user may read."""

from pathlib import Path

import pytest
from assay_airflow.ui.queries.golden_rows import find_type
from corpus_runs import find_run
from fastapi import HTTPException
from fastapi.testclient import TestClient


def test_each_image_of_a_page_is_served(viewer: TestClient, pages_root: Path) -> None:
    rows = viewer.get("/api/pairs", params={"right": find_run(pages_root, "step-0809"), "limit": 5}).json()["rows"]
    for row in rows:
        answer = viewer.get(f"/{row['image']}&size=thumb")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"].startswith("private, max-age=86400")
        assert answer.content.startswith(b"\x89PNG")
        width = int.from_bytes(answer.content[16:20], "big")
        assert width == row["width"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"golden": "../../etc"},
        {"part": "../part-00000"},
        {"part": "part-00000.parquet"},
        {"golden": "0123456789abcdef"},
        {"part": "part-99999"},
        {"row": 100000},
        {"row": -1},
        {"run": "../x"},
    ],
)
def test_other_files_are_refused(viewer: TestClient, pages_root: Path, wrong: dict[str, str]) -> None:
    (golden,) = (pages_root / "golden").iterdir()
    place = {"run": find_run(pages_root, "step-0809"), "golden": golden.name, "part": "part-00000", "row": 0}
    assert viewer.get("/api/image", params=place).status_code == 200
    answer = viewer.get("/api/image", params={**place, **wrong})
    assert answer.status_code in (400, 404, 422)
    assert list(answer.json()) == ["detail"]


@pytest.mark.parametrize("data", [b"<svg onload=alert(1)>", b"GIF89a", b"", b"RIFF0000WAVE", b"<html>"])
def test_what_is_no_image_has_no_type(data: bytes) -> None:
    with pytest.raises(HTTPException) as refusal:
        find_type(data)
    assert refusal.value.status_code == 415


def test_the_first_bytes_make_the_type() -> None:
    assert find_type(b"\xff\xd8\xff\xe0") == "image/jpeg"
    assert find_type(b"RIFF0000WEBPVP8 ") == "image/webp"
