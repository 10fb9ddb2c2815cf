"""`api/pairs`, `api/histogram` and `api/pairs.csv` over the corpus, against the same rows read part by part."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from corpus_runs import find_run
from fastapi.testclient import TestClient
from page_users import Login

OLD, NEW = "step-0800", "step-0809"


def read_rows(root: Path, checkpoint: str, stage: str) -> dict[str, dict[str, Any]]:
    """The rows of a run's scores or captions by image, read by DuckDB alone."""
    run = root / "runs" / find_run(root, checkpoint)
    scores = json.loads((run / "scores.json").read_text())["manifest"]["id"]
    folder = {"scores": scores, "captions": json.loads((run / "record.json").read_text())["caption_id"]}[stage]
    query = duckdb.execute(f"SELECT * FROM read_parquet('{root}/{stage}/{folder}/parts/*.parquet')")
    names = [column[0] for column in query.description]
    return {row[0]: dict(zip(names, row, strict=True)) for row in query.fetchall()}


@pytest.fixture
def pair(pages_root: Path) -> dict[str, str]:
    return {"left": find_run(pages_root, OLD), "right": find_run(pages_root, NEW)}


def test_the_worst_come_first(viewer: TestClient, pages_root: Path, pair: dict[str, str]) -> None:
    answer = viewer.get("/api/pairs", params={**pair, "sort": "judge", "limit": 200}).json()
    old, new = (read_rows(pages_root, name, "scores") for name in (OLD, NEW))
    expected = sorted(new[key]["judge"] - old[key]["judge"] for key in new)
    assert answer["total"] == len(new) == 274
    assert [row["metrics"]["judge"]["difference"] for row in answer["rows"]] == pytest.approx(expected[:200])
    captions = read_rows(pages_root, NEW, "captions")
    for row in answer["rows"]:
        assert row["right"]["caption"] == captions[row["key"]]["caption"]
        assert row["judge"]["right"] == new[row["key"]]["rationale"]
        assert row["references"] is not None
        assert row["width"] > 0
    assert (answer["sort"], answer["by"], answer["order"]) == ("judge", "difference", "worst")
    assert answer["about"][0]["name"] == answer["metrics"][0] == "judge"
    assert answer["problems"] == []


def test_without_a_sort_the_first_gating_metric_counts(viewer: TestClient, pair: dict[str, str]) -> None:
    assert viewer.get("/api/pairs", params=pair).json()["sort"] == "judge"


def test_the_worst_of_a_metric_that_should_be_low_are_the_highest(viewer: TestClient, pair: dict[str, str]) -> None:
    rows = viewer.get("/api/pairs", params={**pair, "sort": "truncated", "by": "right", "limit": 3}).json()["rows"]
    assert [row["metrics"]["truncated"]["right"] for row in rows] == [1.0, 1.0, 0.0]


def test_pages_do_not_overlap_and_miss_nothing(viewer: TestClient, pair: dict[str, str]) -> None:
    keys: list[str] = []
    for offset in range(0, 300, 100):
        page = viewer.get("/api/pairs", params={**pair, "sort": "judge", "offset": offset, "limit": 100}).json()
        keys += [row["key"] for row in page["rows"]]
    assert len(keys) == len(set(keys)) == 274


def test_one_run_alone(viewer: TestClient, pages_root: Path) -> None:
    answer = viewer.get("/api/pairs", params={"right": find_run(pages_root, NEW), "limit": 1}).json()
    assert (answer["left"], answer["by"]) == (None, "right")
    (row,) = answer["rows"]
    assert row["left"] is None
    assert row["metrics"]["judge"]["left"] is None


def test_filters_by_text_status_label_and_range(viewer: TestClient, pages_root: Path, pair: dict[str, str]) -> None:
    old, new = (read_rows(pages_root, name, "captions") for name in (OLD, NEW))

    def count(**filters: Any) -> int:
        total: int = viewer.get("/api/pairs", params={**pair, "limit": 1, **filters}).json()["total"]
        return total

    with_navy = [k for k in new if "navy" in new[k]["caption"] or "navy" in old[k]["caption"] or "navy" in k]
    assert count(q="NAVY") == len(with_navy) > 0
    cut = [key for key in new if "length" in (new[key]["finish_reason"], old[key]["finish_reason"])]
    assert count(status="truncated") == len(cut) > 0
    assert count(status="ok") == 274 - len(cut)
    assert count(label="no such label") == 0
    scores = {name: read_rows(pages_root, name, "scores") for name in (OLD, NEW)}
    worse = [key for key in new if scores[NEW][key]["judge"] - scores[OLD][key]["judge"] <= -0.1]
    assert count(metric_max="judge:-0.1") == len(worse) > 0
    assert count(metric_max=["judge:-0.1", "judge:-5"], sort="judge") == 0


def test_rejected_images_have_a_reason(viewer: TestClient, pair: dict[str, str]) -> None:
    answer = viewer.get("/api/pairs", params={**pair, "status": "rejected"}).json()
    assert answer["total"] == len(answer["rows"]) == 9
    assert all(row["right"]["status"] == "rejected" and row["right"]["failure"] for row in answer["rows"])


def test_the_histogram_counts_each_image_once(viewer: TestClient, pair: dict[str, str]) -> None:
    answer = viewer.get("/api/histogram", params={**pair, "metric": "exact_match", "bins": 7}).json()
    assert len(answer["edges"]) == 8
    assert sum(answer["counts"]) + answer["missing"] == 274
    assert answer["missing"] > 0  # images without references
    constant = viewer.get("/api/histogram", params={**pair, "metric": "refusal"}).json()
    assert sum(constant["counts"]) == 274


def test_the_csv_has_every_image(viewer: TestClient, pages_root: Path, pair: dict[str, str]) -> None:
    answer = viewer.get("/api/pairs.csv", params={**pair, "sort": "judge"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(rows) == 274
    scores = read_rows(pages_root, NEW, "scores")
    assert all(float(row["right_judge"]) == scores[row["image_id"]]["judge"] for row in rows)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sort": "judge; DROP TABLE x"},
        {"sort": "image_id"},
        {"by": "r0"},
        {"order": "asc, n"},
        {"status": "' OR 1=1"},
        {"metric_min": "judge"},
        {"metric_min": "judge:nan"},
        {"metric_max": "nothing:1"},
    ],
)
def test_what_is_no_choice_is_refused(viewer: TestClient, pair: dict[str, str], wrong: dict[str, str]) -> None:
    answer = viewer.get("/api/pairs", params={**pair, **wrong})
    assert answer.status_code == 400
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize("wrong", [{"limit": 100000}, {"offset": -1}, {"bins": 10**6}])
def test_a_number_out_of_bounds_is_refused(viewer: TestClient, pair: dict[str, str], wrong: dict[str, int]) -> None:
    route = "histogram" if "bins" in wrong else "pairs"
    assert viewer.get(f"/api/{route}", params={**pair, **wrong}).status_code == 422


@pytest.fixture
def own_root(login: Login, pages_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of the test's own, whose parts it may damage."""
    root = tmp_path / "own"
    shutil.copytree(pages_root, root)
    monkeypatch.setenv("ASSAY_ROOT", str(root))
    return root


def parts_of(root: Path, checkpoint: str, stage: str) -> list[Path]:
    run = root / "runs" / find_run(root, checkpoint)
    manifest = json.loads((run / "scores.json").read_text())["manifest"]["id"]
    folder = {"scores": manifest, "captions": json.loads((run / "record.json").read_text())["caption_id"]}[stage]
    return sorted((root / stage / folder / "parts").glob("*.parquet"))


def test_a_damaged_part_costs_its_own_rows(login: Login, own_root: Path, pair: dict[str, str]) -> None:
    parts = parts_of(own_root, NEW, "scores")
    parts[1].write_bytes(b"not parquet at all" * 10)
    parts[2].unlink()
    answer = login("VIEWER").get("/api/pairs", params={**pair, "limit": 200}).json()
    kept = duckdb.execute(f"SELECT count(*) FROM read_parquet({[str(parts[0]), *map(str, parts[3:])]})").fetchall()
    assert answer["total"] == kept[0][0]
    lines = "\n".join(answer["problems"])
    assert "right scores, part-00001: not readable" in lines
    assert "right scores, part-00002: the file is missing though a manifest names it" in lines
    assert f"{answer['total']} of 274 images can be shown" in lines
    assert str(own_root) not in lines


def test_a_damaged_golden_part_costs_its_images(login: Login, own_root: Path, pair: dict[str, str]) -> None:
    (part,) = own_root.glob("golden/*/parts/part-00003.parquet")
    part.write_bytes(part.read_bytes()[:1000])
    answer = login("VIEWER").get("/api/pairs", params={**pair, "limit": 200}).json()
    assert answer["total"] == 274
    without = [row for row in answer["rows"] if row["image"] is None]
    assert 0 < len(without) < 200
    assert any(line.startswith("golden set, part-00003: not readable") for line in answer["problems"])


def rewrite_caption(part: Path, caption: str) -> str:
    """Replace the first caption of a part. Returns the image's id."""
    copy = part.with_suffix(".new")
    (image_id,) = duckdb.execute("SELECT image_id FROM read_parquet(?) LIMIT 1", [str(part)]).fetchall()[0]
    duckdb.execute(
        "COPY (SELECT * REPLACE (CASE WHEN image_id = $id THEN $caption ELSE caption END AS caption) "
        f"FROM read_parquet($part)) TO '{copy}' (FORMAT parquet)",
        {"id": image_id, "caption": caption, "part": str(part)},
    )
    copy.replace(part)
    return str(image_id)


def test_hostile_captions_are_text_and_long_ones_are_cut(login: Login, own_root: Path, pair: dict[str, str]) -> None:
    viewer = login("VIEWER")
    hostile = "=HYPERLINK(1)<script>alert(1)</script>\u202e" + "x" * 1_000_000
    image_id = rewrite_caption(parts_of(own_root, NEW, "captions")[0], hostile)
    answer = viewer.get("/api/pairs", params={**pair, "q": "<script>"})
    assert answer.headers["content-type"] == "application/json"
    (row,) = answer.json()["rows"]
    assert row["key"] == image_id
    assert row["right"]["caption"] == hostile[:20_000]
    assert row["right"]["cut"] is True
    assert row["left"]["cut"] is False
    text = viewer.get("/api/pairs.csv", params={**pair, "q": "<script>"}).text
    (line,) = csv.DictReader(io.StringIO(text, newline=""))
    assert line["right_caption"].startswith("'=HYPERLINK")


def test_runs_over_two_golden_sets_are_not_paired(login: Login, own_root: Path, pair: dict[str, str]) -> None:
    record = own_root / "runs" / pair["left"] / "record.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"golden_id": "0123456789abcdef"}))
    answer = login("VIEWER").get("/api/pairs", params=pair)
    assert answer.status_code == 422
    assert "not over one golden set" in answer.json()["detail"]
