from typing import Any

import pytest
from assay_airflow.verdict_lines import format_verdict
from specs import make_record

from ray_jobs.contract.artifacts import Comparison, LimitCheck, Record
from ray_jobs.contract.spec import Baseline, Spec

NUMBERS: dict[str, Any] = {"n": 9, "low": -2.04444, "high": 1.0, "p_worse": 0.2}


@pytest.fixture
def record(spec: Spec) -> Record:
    """A FAIL by the second of three comparisons; another one only informs."""
    passed = Comparison(
        metric="chrf", outcome="PASS", baseline=6.0, candidate=5.5, difference=-0.5, margin=2.5, **NUMBERS
    )
    failed = passed.model_copy(
        update={"metric": "exact_match", "outcome": "FAIL", "candidate": 0.9695863746958636, "against": "anchor"}
    )
    comparisons = (passed, failed, failed.model_copy(update={"metric": "refusal", "advisory": True}))
    limit = LimitCheck(
        metric="words", kind="max", limit=12345.6, value=None, method="t", outcome="INCOMPLETE", **NUMBERS
    )
    stored = make_record(spec, "FAIL")
    baseline = Baseline(run_id="1", run_uri="/r/runs/a/1", caption_id="c", checkpoint=stored.checkpoint)
    update: dict[str, Any] = {"comparisons": comparisons, "limits": (limit,), "baseline": baseline}
    verdict = stored.verdict.model_copy(update=update)
    return stored.model_copy(update={"verdict": verdict, "images": {"scored": 256}})


def test_a_verdict_is_five_lines_with_rounded_numbers_and_the_reason_last(record: Record) -> None:
    assert format_verdict(record) == [
        "step-1: compared with step-1 by suite small, 256 images",
        "exact_match: FAIL, anchor 6, candidate 0.97, difference -0.5 [-2.04, 1], margin 2.5, n 9",
        "words at most 12346: INCOMPLETE, none [-2.04, 1], n 9 (and 1 more in the report)",
        f"report: {record.run_uri}/report.html",
        "FAIL: as told",
    ]


def test_a_verdict_without_tests_has_no_empty_line(spec: Spec) -> None:
    assert format_verdict(make_record(spec)) == [
        "step-1: compared with nothing by suite small, 0 images",
        f"report: {spec.run_uri}/report.html",
        "PASS: as told",
    ]


def test_the_report_is_that_of_the_forced_request(record: Record) -> None:
    forced = record.model_copy(update={"verdict": record.verdict.model_copy(update={"folder": "forced/1"})})
    assert format_verdict(forced)[3] == f"report: {record.run_uri}/forced/1/report.html"
