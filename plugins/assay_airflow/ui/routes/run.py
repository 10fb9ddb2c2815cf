"""`api/run` and `api/report`: everything about one run, and its report."""

from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from assay_airflow.ui.access import require_dag
from assay_airflow.ui.answers import json_answer, refuse
from assay_airflow.ui.headers import REPORT_POLICY
from assay_airflow.ui.queries.checkpoint_rows import describe_metrics, list_metrics
from assay_airflow.ui.queries.origins import Origin, find_dag_run, find_ray_job
from assay_airflow.ui.queries.records import load_record
from assay_airflow.ui.queries.run_access import require_run
from assay_airflow.ui.queries.run_facts import describe_run
from assay_airflow.ui.queries.run_names import RunName, read_root, run_of_uri
from assay_airflow.ui.report_links import serve_links
from ray_jobs.contract.artifacts import Record
from ray_jobs.storage import objects, records

REPORT_BYTES = 64 * 2**20
RECORD_BYTES = 2 * 2**20


def get_run(
    request: Request, user: GetUserDep, session: SessionDep, run: str = "", dag: str = "", dag_run: str = ""
) -> Response:
    """A run by its name, or by the dag run that made it."""
    name, origin = resolve_run(request, user, session, run, dag, dag_run)
    try:
        record = load_record(name)
    except Exception as error:
        if origin is None or getattr(error, "status_code", None) != 404:
            raise
        return json_answer(_describe_unpublished(name, origin, session))
    facts, problems = describe_run(record, name.uri(read_root()))
    baseline = record.verdict.baseline
    content = record.model_dump_json()
    answer = {
        "run": str(name),
        "checkpoint": record.checkpoint.name,
        "suite": record.suite,
        "verdict": record.verdict.outcome,
        "sentence": f"{record.checkpoint.name}: {record.verdict.outcome}: {record.verdict.reason}",
        **facts,
        "links": _build_links(name, origin, session, record),
        "metrics": describe_metrics(record),
        "about": list_metrics(record),
        "baseline_run": str(run_of_uri(baseline.run_uri)) if baseline else None,
        "record": record.model_dump(mode="json") if len(content) <= RECORD_BYTES else None,
        "problems": problems,
    }
    return json_answer(answer)


def resolve_run(
    request: Request, user: Any, session: Session, run: str, dag: str, dag_run: str
) -> tuple[RunName, Origin | None]:
    """Returns the run that a URL names, after a check that the user may read it.

    Raises HTTPException 404 for a dag run that has planned no run.
    """
    if run:
        return require_run(run, request, user, session)
    if not dag or not dag_run:
        raise refuse(400, "name a run: run=checkpoint-folder/run-id, or dag=... and dag_run=...")
    require_dag(dag, request, user)
    planned_run = find_dag_run(session, dag, dag_run)
    if planned_run is None:
        raise refuse(404, f"dag run {dag_run}: no validation was planned in it yet")
    name, origin = planned_run
    require_run(str(name), request, user, session)
    return name, origin


def get_report(request: Request, user: GetUserDep, session: SessionDep, run: str) -> Response:
    """The report of a run, which has no script and an origin of its own."""
    name, _ = require_run(run, request, user, session)
    record = load_record(name)
    uri = f"{records.results_uri(name.uri(read_root()), record.verdict)}/report.html"
    try:
        page = objects.read(uri, REPORT_BYTES)
    except FileNotFoundError:
        raise refuse(404, f"run {name}: it has no report; evaluate and publish it again") from None
    return Response(
        serve_links(page, str(name)),
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": REPORT_POLICY},
    )


def _describe_unpublished(name: RunName, origin: Origin, session: Session) -> dict[str, Any]:
    return {
        "run": str(name),
        "checkpoint": name.folder.rpartition("-")[0],
        "suite": None,
        "verdict": None,
        "sentence": None,
        "rests_on": {},
        "funnel": [],
        "phases": [],
        "engine": {},
        "links": _build_links(name, origin, session, None),
        "metrics": {},
        "about": [],
        "baseline_run": None,
        "record": None,
        "problems": [],
    }


def _build_links(name: RunName, origin: Origin | None, session: Session, record: Record | None) -> dict[str, Any]:
    """Returns URLs relative to the shell, so that a reverse proxy's prefix stays."""
    return {
        "report": f"api/report?run={quote(str(name), safe='')}" if record else None,
        "ray_job": find_ray_job(session, origin) if origin else None,
        "dag_run": f"../dags/{quote(origin.dag_id, safe='')}/runs/{quote(origin.run_id, safe='')}" if origin else None,
    }


router = APIRouter()
router.add_api_route("/run", get_run)
router.add_api_route("/report", get_report)
