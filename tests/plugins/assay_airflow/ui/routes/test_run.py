"""`api/run` and `api/report`: one run by its name, and by the dag run that made it."""

import json
from pathlib import Path

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.utils.session import create_session
from corpus_runs import find_run
from fastapi.testclient import TestClient
from page_users import Login


def test_a_run_has_its_verdict_and_what_it_rests_on(viewer: TestClient, pages_root: Path) -> None:
    name = find_run(pages_root, "step-0809")
    answer = viewer.get("/api/run", params={"run": name}).json()
    record = json.loads((pages_root / "runs" / name / "record.json").read_text())
    assert answer["verdict"] == "FAIL"
    assert answer["sentence"] == f"step-0809: FAIL: {record['verdict']['reason']}"
    assert answer["rests_on"]["baseline"] == record["verdict"]["baseline"]["checkpoint"]["name"] == "step-0800-again"
    assert [step["label"] for step in answer["funnel"]] == ["read", "golden", "captioned", "scored"]
    assert answer["funnel"][0]["count"] - answer["funnel"][1]["count"] == sum(answer["funnel"][1]["reasons"].values())
    assert {phase["name"].partition(":")[0] for phase in answer["phases"]} == {"preprocess", "caption", "evaluate"}
    assert answer["metrics"]["exact_match"]["outcome"] == "worse"
    assert answer["record"]["run_id"] == record["run_id"]
    assert answer["problems"] == []


def test_the_report_has_no_script_and_an_origin_of_its_own(viewer: TestClient, pages_root: Path) -> None:
    name = find_run(pages_root, "step-0809")
    missing = viewer.get("/api/report", params={"run": name})
    assert missing.status_code == 404
    assert missing.json()["detail"] == f"run {name}: it has no report; evaluate and publish it again"
    report = pages_root / "runs" / name / "report.html"
    baseline = find_run(pages_root, "step-0800-again")
    report.write_text(f'<!doctype html>\n<title>a report</title><a href="../../../runs/{baseline}/report.html">x</a>')
    try:
        answer = viewer.get("/api/report", params={"run": name})
    finally:
        report.unlink()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "script-src" not in policy
    assert policy.startswith("default-src 'none';")
    assert "sandbox" in policy
    assert "<!doctype html>" in answer.text
    assert f'<a href="report?run={baseline.replace("/", "%2F")}">' in answer.text


@pytest.mark.parametrize(
    "name", ["../runs/x", "a/../b", "a", "a/b/c", "a/..", "/etc/passwd", "a/b%00", "a/b\n", ".a/b"]
)
def test_a_name_that_is_no_run_is_refused(viewer: TestClient, name: str) -> None:
    for route in ("run", "report", "pairs.csv"):
        key = "right" if route == "pairs.csv" else "run"
        answer = viewer.get(f"/api/{route}", params={key: name})
        assert answer.status_code == 400, route
        assert list(answer.json()) == ["detail"]


def test_a_run_that_is_not_there_is_one_line(viewer: TestClient) -> None:
    answer = viewer.get("/api/run?run=step-1-00000000/0123456789abcdef")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "run step-1-00000000/0123456789abcdef: no published run of that name"}


def test_a_dag_run_leads_to_its_run_though_its_plus_came_as_a_space(login: Login, pages_root: Path) -> None:
    name = find_run(pages_root, "step-0300")
    dag_run = "manual__2026-12-01T00:00:00+00:00"
    with create_session() as session:
        asset = AssetModel(name="assay_verdict", uri="assay_verdict", group="assay")
        session.add(asset)
        session.flush()
        extra = {"record": f"s3://elsewhere/runs/{name}/record.json"}
        session.add(
            AssetEvent(asset_id=asset.id, source_dag_id="validate_checkpoint", source_run_id=dag_run, extra=extra)
        )
    try:
        viewer = login("VIEWER")
        for spelled in (dag_run, dag_run.replace("+", " ")):
            answer = viewer.get("/api/run", params={"dag": "validate_checkpoint", "dag_run": spelled}).json()
            assert answer["run"] == name
            assert answer["links"]["dag_run"] == (
                "../dags/validate_checkpoint/runs/manual__2026-12-01T00%3A00%3A00%2B00%3A00"
            )
        missing = viewer.get("/api/run", params={"dag": "validate_checkpoint", "dag_run": "manual__1"})
        assert missing.status_code == 404
    finally:
        with create_session() as session:
            session.query(AssetEvent).delete()
            session.query(AssetModel).delete()
