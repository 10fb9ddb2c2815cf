"""The end of a validation in a real Airflow: a verdict is no failure of the run, and its log is five lines."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from receivers import WebServer
from specs import make_record, make_spec

from ray_jobs.storage import records

REPO = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run_verdict(folder: Path, outcome: str, states: dict[str, str] | None = None, **variables: str) -> dict[str, Any]:
    """The states of the run and of its last tasks, the buttons of `verdict`, and the lines that were logged."""
    spec = make_spec(folder / "root")
    records.publish(spec.root, make_record(spec, outcome))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ASSAY_", "AIRFLOW_"))}
    env |= {
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_HOME": str(folder / "home"),
        "PYTHONPATH": f"{REPO}:{REPO / 'plugins'}",
    } | variables
    program = [sys.executable, str(Path(__file__).with_name("run_verdict.py")), spec.uri, json.dumps(states or {})]
    process = subprocess.run(program, env=env, cwd=folder, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    end: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return end | {"output": process.stdout + process.stderr, "run_uri": spec.run_uri}


def test_a_fail_is_a_red_task_in_a_run_that_succeeded_and_people_are_told(tmp_path: Path) -> None:
    with WebServer() as web:
        hook = json.dumps({"conn_type": "http", "host": f"http://127.0.0.1:{web.port}/hook"})
        end = run_verdict(tmp_path, "FAIL", ASSAY_NOTIFY="hook", AIRFLOW_CONN_HOOK=hook)
    assert [body["sentence"] for _, _, body in web.posts] == ["FAIL step-1 (suite small): as told"]
    assert (end["run"], end["tasks"]["verdict"], end["tasks"]["finish"]) == ("success", "failed", "success")
    assert "FAIL: as told" in end["output"]
    assert "Traceback" not in end["output"]
    assert "Task failed with exception" not in end["output"]
    assert end["links"] == {
        "ReportLink": f"assay/api/report?run={'/'.join(end['run_uri'].split('/')[-2:])}",
        "ExplorerLink": "assay/?page=explorer&dag=validate_checkpoint&dag_run=manual__1",
    }


def test_a_run_that_could_not_decide_is_skipped_and_no_failure(tmp_path: Path) -> None:
    end = run_verdict(tmp_path, "INCONCLUSIVE")
    assert (end["run"], end["tasks"]["verdict"]) == ("success", "skipped")


def test_a_run_without_a_record_is_broken(tmp_path: Path) -> None:
    states = dict.fromkeys(("evaluate", "publish", "ask"), "upstream_failed")
    end = run_verdict(tmp_path, "PASS", {"caption": "failed"} | states)
    assert (end["run"], end["tasks"]["verdict"], end["tasks"]["finish"]) == ("failed", *["upstream_failed"] * 2)
