"""A task writes the note of its run, and a viewer reads it: in a real API server of Airflow with the stack's users."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from assay_airflow.run_note import write_note
from s3_server import free_ports
from specs import make_record, make_spec

from dev.settings import Settings, environment
from ray_jobs.storage import records

REPO = Path(__file__).parents[2]
RUN = "/api/v2/dags/validate_checkpoint/dagRuns/manual__1"
pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a stack whose API server runs, and whose database has a run `manual__1`."""
    folder = tmp_path_factory.mktemp("stack")
    settings = Settings(run=folder, root=str(folder / "root"), airflow_port=free_ports(1)[0])
    variables = environment(settings)
    spec = make_spec(folder / "root")
    records.publish(spec.root, make_record(spec, "FAIL"))
    program = [sys.executable, str(Path(__file__).with_name("run_verdict.py")), spec.uri, "{}"]
    subprocess.run(program, env=variables, cwd=folder, check=True, capture_output=True)
    command = [sys.executable, "-m", "airflow", "api-server", "--host", "127.0.0.1", "--workers", "1"]
    log = (folder / "api-server.log").open("w")
    server = subprocess.Popen([*command, "--port", str(settings.airflow_port)], env=variables, stdout=log, stderr=log)
    try:
        while not is_up(settings.airflow_url):
            assert server.poll() is None, (folder / "api-server.log").read_text()[-2000:]
            time.sleep(0.2)
        yield variables
    finally:
        server.terminate()
        server.wait()


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/monitor/health").is_success
    except httpx.TransportError:
        return False


def log_in(variables: dict[str, str], user: str) -> httpx.Client:
    passwords = json.loads(Path(variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).read_text())
    client = httpx.Client(base_url=variables["AIRFLOW__API__BASE_URL"], timeout=30)
    login = {"username": user, "password": passwords[user]}
    client.headers["Authorization"] = f"Bearer {client.post('/auth/token', json=login).json()['access_token']}"
    return client


def test_a_task_writes_the_note_and_a_viewer_reads_it(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", variables["AIRFLOW_CONN_AIRFLOW_API"])
    assert write_note("FAIL step-1", "validate_checkpoint", "manual__1")
    viewer = log_in(variables, "viewer")
    assert viewer.get(RUN).json()["note"] == "FAIL step-1"
    assert viewer.patch(RUN, params={"update_mask": "note"}, json={"note": "mine"}).status_code == 403
    assert viewer.get("/api/v2/connections").status_code == 403


def test_the_op_sees_connections_and_the_tasks_user_does_not(variables: dict[str, str]) -> None:
    statuses: dict[str, Any] = {
        user: log_in(variables, user).get("/api/v2/connections").status_code for user in ("op", "assay", "admin")
    }
    assert statuses == {"op": 200, "assay": 403, "admin": 200}


def test_the_buttons_of_the_verdict_are_in_airflows_answer(variables: dict[str, str]) -> None:
    links = log_in(variables, "viewer").get(f"{RUN}/taskInstances/verdict/links").json()["extra_links"]
    assert links["Explorer"] == "assay/?page=explorer&dag=validate_checkpoint&dag_run=manual__1"
    assert links["Report"].startswith("assay/api/report?run=step-1-")
