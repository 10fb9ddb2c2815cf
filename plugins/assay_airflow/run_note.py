"""Write the checkpoint and its verdict as the note of the run, which Airflow shows in every list of runs.

A task has no way of its own to write a note: the Task SDK and the execution API of Airflow 3.3 only read one, or set it
when they trigger a run. So the task asks Airflow's public REST API, as a user of role `user`, through the connection
`airflow_api`. Without that connection there is no note. A note that cannot be written never fails the task.
"""

import logging
import re
import time
from typing import Any
from urllib.parse import quote

import httpx
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from assay_airflow.hooks.ray import read_certificates
from assay_airflow.links import build_explorer_url, build_report_url
from ray_jobs.contract.artifacts import Record
from ray_jobs.inputs.names import printable

CONNECTION = "airflow_api"
TIMEOUT_S = 5.0
TRIES = 3
MAX_CHARACTERS = 1000  # of a note, by Airflow
MAX_REASON = 400
OURS = re.compile(r"^((PASS|FAIL|INCONCLUSIVE|INCOMPLETE) |ROUTER: )")
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#!|~])")
log = logging.getLogger(__name__)


def format_note(record: Record, dag_id: str, run_id: str) -> str:
    """One line of Markdown: outcome, checkpoint, suite, reason, and links to the report and to the images."""
    what = f"{record.checkpoint.name} ({record.suite}): {record.verdict.reason}"
    links = f"[report]({build_report_url(record.run_uri)}) · [images]({build_explorer_url(dag_id, run_id)})"
    return f"{record.verdict.outcome} {escape_markdown(printable(what, MAX_REASON))} · {links}"


def escape_markdown(text: str) -> str:
    """The text as Airflow's pages show it literally."""
    return MARKDOWN.sub(r"\\\1", text)


def write_note(line: str, dag_id: str, run_id: str) -> bool:
    """Make the line the first of the run's note. Returns whether it is there; the log says why it is not.

    What a person wrote into the note stays below it.
    """
    try:
        connection = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        return False
    try:
        return _write(connection, line, dag_id, run_id)
    except Exception as error:
        log.warning("No note on the run: %s", printable(f"{type(error).__name__}: {error}", 300))
        return False


def _write(connection: Connection, line: str, dag_id: str, run_id: str) -> bool:
    path = f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"
    with httpx.Client(base_url=build_api_url(connection), timeout=TIMEOUT_S, verify=read_certificates()) as client:
        login = {"username": connection.login, "password": connection.password}
        token = _request(client, "POST", "/auth/token", json=login)["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        note = merge_note(line, _request(client, "GET", path).get("note") or "")
        _request(client, "PATCH", path, params={"update_mask": "note"}, json={"note": note})
    return True


def build_api_url(connection: Connection) -> str:
    """The address of Airflow's API server. The connection's host may be a URL with the prefix of a proxy."""
    host = (connection.host or "").rstrip("/")
    return host if "://" in host else f"{connection.schema or 'http'}://{host}:{connection.port or 8080}"


def merge_note(line: str, note: str) -> str:
    """The note with the line first, instead of an earlier line of ours."""
    lines = note.splitlines()
    others = lines[1:] if lines and OURS.match(lines[0]) else lines
    return "\n".join([line, *([""] if others and others[0] else []), *others])[:MAX_CHARACTERS]


def _request(client: httpx.Client, method: str, path: str, **arguments: Any) -> dict[str, Any]:
    """The answer's JSON. Asks again after an error of the server, such as a database that is locked."""
    for attempt in range(TRIES):
        answer = client.request(method, path, **arguments)
        if answer.status_code < 500 or attempt == TRIES - 1:
            break
        time.sleep(0.5)
    answer.raise_for_status()
    content: dict[str, Any] = answer.json()
    return content
