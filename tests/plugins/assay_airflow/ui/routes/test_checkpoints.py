"""`api/suites` and `api/checkpoints` over the corpus of a release."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.models.asset import AssetEvent, AssetModel
from airflow.utils.session import create_session
from assay_airflow.ui.queries import acceptance, records
from fastapi.testclient import TestClient

from ray_jobs.contract.artifacts import Record
from ray_jobs.storage import decisions, json_files


def test_suites_have_their_runs(viewer: TestClient) -> None:
    (suite,) = viewer.get("/api/suites").json()["suites"]
    assert (suite["name"], suite["runs"]) == ("demo", 6)
    assert suite["newest"].endswith("Z")


def test_a_row_has_what_the_record_says(viewer: TestClient, pages_root: Path) -> None:
    answer = viewer.get("/api/checkpoints?suite=demo").json()
    row = next(row for row in answer["rows"] if row["checkpoint"] == "step-0809")
    record = json.loads((pages_root / "runs" / row["run"] / "record.json").read_text())
    assert row["verdict"] == record["verdict"]["outcome"] == "FAIL"
    assert row["step"] == 809
    assert row["baseline_run"].split("/")[1] == record["verdict"]["baseline"]["run_id"]
    comparison = next(line for line in record["verdict"]["comparisons"] if line["metric"] == "exact_match")
    metric = row["metrics"]["exact_match"]
    assert metric["value"] == record["metrics"]["exact_match"]["mean"]
    assert metric["difference"] == {"value": comparison["difference"], **{k: comparison[k] for k in ("low", "high")}}
    assert metric["outcome"] == "worse"
    assert row["dag_run"] is None
    assert answer["problems"] == []


def test_the_metrics_that_gate_come_first(viewer: TestClient) -> None:
    answer = viewer.get("/api/checkpoints?suite=demo").json()
    assert [metric["name"] for metric in answer["metrics"][:3]] == ["judge", "exact_match", "empty"]
    assert [metric["margin"] for metric in answer["metrics"][:3]] == [0.05, 0.05, None]
    assert answer["margin_metric"] == "judge"


def test_a_damaged_record_costs_its_own_row_alone(
    viewer: TestClient, pages_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_rows", type(records._rows)())
    entry = next((pages_root / "index" / "demo").glob("*/*0809*.json"))
    content = entry.read_bytes()
    try:
        entry.write_bytes(b"{" + content[:100])
        answer = viewer.get("/api/checkpoints?suite=demo").json()
    finally:
        entry.write_bytes(content)
    assert len(answer["rows"]) == 5
    (problem,) = answer["problems"]
    assert problem.startswith("step-0809-")
    assert "\n" not in problem


def test_names_that_leave_the_root_are_refused(viewer: TestClient) -> None:
    for name in ("../demo", "demo/..", "a/b", "%2e%2e", ""):
        answer = viewer.get("/api/checkpoints", params={"suite": name})
        assert answer.status_code == 400, name
        assert list(answer.json()) == ["detail"]


def test_runs_of_a_dag_that_is_hidden_are_left_out(
    viewer: TestClient, pages_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = next((pages_root / "runs").glob("step-0809*/*"))
    with create_session() as session:
        asset = AssetModel(name="assay_verdict", uri="assay_verdict", group="assay")
        session.add(asset)
        session.flush()
        event = AssetEvent(
            asset_id=asset.id,
            source_dag_id="another_team",
            source_run_id="manual__2026-12-01T00:00:00+00:00",
            extra={"record": f"{hidden}/record.json"},
        )
        session.add(event)
    try:
        rows = viewer.get("/api/checkpoints?suite=demo").json()["rows"]
        assert [row["dag_run"] for row in rows if row["dag_run"]] == [
            {"dag_id": "another_team", "run_id": "manual__2026-12-01T00:00:00+00:00"}
        ]
        manager = create_auth_manager()
        allow = manager.is_authorized_dag
        monkeypatch.setattr(
            manager,
            "is_authorized_dag",
            lambda **call: call["details"].id != "another_team" and allow(**call),
        )
        rows = viewer.get("/api/checkpoints?suite=demo").json()["rows"]
        assert len(rows) == 5
        assert viewer.get("/api/suites").json()["suites"][0]["runs"] == 5
        monkeypatch.setattr(manager, "is_authorized_dag", lambda **_: False)
        assert viewer.get("/api/checkpoints?suite=demo").status_code == 403
    finally:
        with create_session() as session:
            session.query(AssetEvent).delete()
            session.query(AssetModel).delete()


def test_a_decision_moves_what_is_accepted(
    viewer: TestClient, pages_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "_cache", {})
    monkeypatch.setattr(acceptance, "FRESH_SECONDS", -1.0)

    def find_row(checkpoint: str) -> dict[str, Any]:
        rows = viewer.get("/api/checkpoints?suite=demo").json()["rows"]
        return next(row for row in rows if row["checkpoint"] == checkpoint)

    assert find_row("step-0809")["accepted"] is False
    assert find_row("step-0300")["accepted"] is True
    assert find_row("step-0300")["decision"] is None
    record = json_files.load(Record, str(next((pages_root / "runs").glob("step-0809*/*/record.json"))))
    try:
        decisions.decide(str(pages_root), record, True, "the <background> is meant", "ann")
        row = find_row("step-0809")
        assert row["accepted"] is True
        assert row["verdict"] == "FAIL"
        assert row["decision"]["by"] == "ann"
        assert row["decision"]["reason"] == "the <background> is meant"
    finally:
        shutil.rmtree(pages_root / "decisions")
