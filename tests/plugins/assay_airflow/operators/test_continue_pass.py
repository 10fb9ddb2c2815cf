"""A pass over too many checkpoints triggers a next one with the same occasion, which requests the remaining runs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowSkipException
from assay_airflow import router, tasks
from assay_airflow.operators.continue_pass import ContinuePassOperator
from specs import write_checkpoint, write_suite


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five checkpoints; a pass requests runs for two of them."""
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ASSAY_SUITES", write_suite(tmp_path / "suites"))
    monkeypatch.setattr(router, "MAX_REQUESTS", 2)
    monkeypatch.setattr(TriggerDagRunOperator, "execute", lambda *_: None)
    for step in range(5):
        write_checkpoint(tmp_path / "in" / f"step-{step}", step.to_bytes(8, "big"))
    return tmp_path / "in"


def read_next_conf(summary: dict[str, Any], params: dict[str, Any]) -> dict[str, Any] | None:
    """The conf of the next pass; None if no next pass is triggered."""
    operator = ContinuePassOperator(task_id="go_on", of="reconcile")
    context: Any = {"ti": SimpleNamespace(xcom_pull=lambda **_: summary), "params": params}
    try:
        operator.execute(context)
    except AirflowSkipException:
        return None
    conf: dict[str, Any] = operator.conf  # type: ignore[assignment]
    return conf


def run_all_passes(folder: Path, run_type: str, runs: list[str]) -> list[list[str]]:
    """The steps that each pass requested, if `runs` exist and all of them ended without a record."""

    def count_runs(run_ids: list[str], states: list[str] | None) -> int:
        return 0 if states else len(set(run_ids) & set(runs))

    passes: list[Any] = []
    summaries: list[Any] = []
    conf: dict[str, Any] | None = {"checkpoints": str(folder), "suite": "small", "occasion": None, "after": None}
    while conf and len(passes) < 9:
        requests = tasks.reconcile(
            run_type, count_runs, str(folder), "small", summaries.append, conf["occasion"], conf["after"]
        )
        runs += [request["trigger_run_id"] for request in requests]
        passes.append([Path(request["conf"]["checkpoint"]).name for request in requests])
        run_type, conf = "operator_triggered", read_next_conf(summaries[-1], conf)
    return passes


def list_failed_runs(folder: Path) -> list[str]:
    first = tasks.reconcile("scheduled", lambda *_: 0, str(folder), "small")
    second = tasks.reconcile("operator_triggered", lambda *_: 0, str(folder), "small", after="step-1")
    last = tasks.reconcile("operator_triggered", lambda *_: 0, str(folder), "small", after="step-3")
    return [request["trigger_run_id"] for request in (*first, *second, *last)]


@pytest.mark.parametrize("run_type", ["manual", "scheduled"])
def test_the_following_passes_ask_for_failed_runs_like_the_first(folder: Path, run_type: str) -> None:
    runs = list_failed_runs(folder)
    assert len(set(runs)) == 5
    passes = run_all_passes(folder, run_type, runs)
    assert passes == [["step-0", "step-1"], ["step-2", "step-3"], ["step-4"]]


def test_a_person_who_asks_twice_gets_the_same_passes_twice(folder: Path) -> None:
    runs = list_failed_runs(folder)
    assert run_all_passes(folder, "manual", runs) == run_all_passes(folder, "manual", runs)


@pytest.mark.parametrize(
    ("run_type", "param", "occasion"),
    [
        ("operator_triggered", "person", "person"),
        ("operator_triggered", "night", "night"),
        ("operator_triggered", "arrival", "arrival"),
        ("operator_triggered", None, "arrival"),
        ("operator_triggered", "root", "arrival"),
        ("operator_triggered", "", "arrival"),
        ("asset_triggered", "person", "arrival"),
        ("scheduled", "person", "night"),
        ("manual", "arrival", "person"),
        ("manual", None, "person"),
    ],
)
def test_only_a_continued_pass_takes_its_occasion_from_the_conf(
    run_type: str, param: str | None, occasion: str
) -> None:
    assert tasks.find_occasion(run_type, param) == occasion


def test_a_finished_pass_triggers_no_next_one() -> None:
    assert read_next_conf({"line": "0 passed over, 1 to validate", "rest": False}, {}) is None
