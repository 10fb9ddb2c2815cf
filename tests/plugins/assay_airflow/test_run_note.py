import json
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow_api_server import PASSWORD, AirflowApiServer
from assay_airflow.run_note import build_api_url, format_note, merge_note, write_note
from specs import make_record

from ray_jobs.contract.spec import Spec

DAG, RUN_ID = "validate_checkpoint", "manual__2026-11-30T02:29:12+00:00"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowApiServer]:
    with AirflowApiServer() as server:
        connect(monkeypatch, port=server.port)
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    connection = {"conn_type": "http", "host": "127.0.0.1", "login": "assay", "password": PASSWORD} | fields
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))


def test_the_note_names_checkpoint_verdict_and_reason_and_links_to_the_pages(spec: Spec) -> None:
    folder = "/".join(spec.run_uri.rsplit("/", 2)[-2:])
    assert format_note(make_record(spec, "FAIL"), DAG, RUN_ID) == (
        f"FAIL step-1 \\(small\\): as told · [report](assay/api/report?run={folder}) · [images](assay/?page=explorer&"
        "dag=validate_checkpoint&dag_run=manual__2026-11-30T02%3A29%3A12%2B00%3A00)"
    )


def test_a_reason_is_no_markdown(spec: Spec) -> None:
    record = make_record(spec, "FAIL")
    hostile = record.verdict.model_copy(update={"reason": "[click](http://x) <img src=x> ![y](z)\n# title"})
    note = format_note(record.model_copy(update={"verdict": hostile}), DAG, RUN_ID)
    assert "\\[click\\]\\(http://x\\) \\<img src=x\\> \\!\\[y\\]\\(z\\)" in note
    assert "\n" not in note


def test_the_note_is_written_as_the_connections_user(api: AirflowApiServer) -> None:
    assert write_note("FAIL step-1", DAG, RUN_ID)
    assert api.note == "FAIL step-1"


def test_a_persons_note_stays_below_and_an_earlier_verdict_does_not(api: AirflowApiServer) -> None:
    api.note = "asked Kim\nabout it"
    assert write_note("INCOMPLETE step-1", DAG, RUN_ID)
    assert write_note("PASS step-1", DAG, RUN_ID)
    assert api.note == "PASS step-1\n\nasked Kim\nabout it"


def test_a_note_is_never_too_long_for_airflow() -> None:
    assert len(merge_note("PASS step-1", "x" * 1000)) == 1000


def test_an_error_of_the_server_is_tried_again(api: AirflowApiServer) -> None:
    api.faults = [500, 503]
    assert write_note("PASS step-1", DAG, RUN_ID)
    assert api.note == "PASS step-1"


@pytest.mark.parametrize(
    ("fields", "why"), [({"password": "wrong"}, "401"), ({"port": 1}, "ConnectError"), ({"host": "h", "port": 0}, "")]
)
def test_a_note_that_cannot_be_written_is_one_line_in_the_log(
    api: AirflowApiServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fields: dict[str, Any],
    why: str,
) -> None:
    connect(monkeypatch, **{"port": api.port} | fields)
    assert not write_note("PASS step-1", DAG, RUN_ID)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("No note on the run: ")
    assert why in line
    assert api.note is None


def test_without_a_connection_there_is_no_note() -> None:
    assert not write_note("PASS step-1", DAG, RUN_ID)


def test_the_address_may_have_the_prefix_of_a_proxy() -> None:

    connection = Connection(conn_id="airflow_api", conn_type="http", host="https://host/airflow/")
    assert build_api_url(connection) == "https://host/airflow"
