"""`api/compare`: the gate's own numbers where it compared the two runs, Student's interval elsewhere."""

import json
from pathlib import Path
from statistics import mean, stdev

import pytest
from assay_airflow.ui.queries.paired_summary import student_quantile
from corpus_runs import find_run
from fastapi.testclient import TestClient


def test_against_the_baseline_the_gate_speaks(viewer: TestClient, pages_root: Path) -> None:
    right = find_run(pages_root, "step-0809")
    record = json.loads((pages_root / "runs" / right / "record.json").read_text())
    left = record["verdict"]["baseline"]["run_uri"].partition("/runs/")[2]
    answer = viewer.get("/api/compare", params={"left": left, "right": right}).json()
    assert answer["comparable"] is True
    line = next(line for line in answer["metrics"] if line["name"] == "exact_match")
    gate = next(line for line in record["verdict"]["comparisons"] if line["metric"] == "exact_match")
    assert {key: line[key] for key in ("difference", "low", "high", "n")} == {
        key: gate[key] for key in ("difference", "low", "high", "n")
    }
    assert line["outcome"] == "worse"


def test_any_two_runs_get_the_interval_of_their_differences(viewer: TestClient, pages_root: Path) -> None:
    pair = {"left": find_run(pages_root, "step-0200"), "right": find_run(pages_root, "step-0809")}
    answer = viewer.get("/api/compare", params=pair).json()
    line = next(line for line in answer["metrics"] if line["name"] == "judge")
    rows = [
        row
        for offset in (0, 200)
        for row in viewer.get("/api/pairs", params={**pair, "limit": 200, "offset": offset}).json()["rows"]
    ]
    differences = [row["metrics"]["judge"]["difference"] for row in rows]
    assert line["n"] == len(differences) == 274
    assert line["difference"] == pytest.approx(mean(differences))
    reach = student_quantile(1 - 0.0027, 273) * stdev(differences) / 274**0.5
    assert (line["low"], line["high"]) == pytest.approx((mean(differences) - reach, mean(differences) + reach))
    assert line["outcome"] == "better"
    truncated = next(line for line in answer["metrics"] if line["name"] == "truncated")
    assert truncated["difference"] == pytest.approx(truncated["left"] - truncated["right"])


@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [(0.975, 9, 2.2622), (0.9973, 9, 3.6401), (0.975, 30, 2.0423), (0.995, 100, 2.6259)],
)
def test_the_quantile_of_student(probability: float, degrees: int, expected: float) -> None:
    """Expected: the printed tables, and scipy.stats.t.ppf for 0.9973."""
    assert student_quantile(probability, degrees) == pytest.approx(expected, abs=2e-3)


def test_a_run_with_itself_is_the_same(viewer: TestClient, pages_root: Path) -> None:
    run = find_run(pages_root, "step-0809")
    answer = viewer.get("/api/compare", params={"left": run, "right": run}).json()
    judge = answer["metrics"][0]
    assert (judge["difference"], judge["outcome"]) == (0.0, "same")
    assert "both runs have the same captions" in answer["problems"]
