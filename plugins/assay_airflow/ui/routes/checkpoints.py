"""`api/suites` and `api/checkpoints`: the suites with published runs, and all runs of one suite."""

from typing import Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from assay_airflow.ui.access import VALIDATION_DAG, list_readable_dags
from assay_airflow.ui.answers import json_answer
from assay_airflow.ui.queries.acceptance import describe_decision, find_accepted
from assay_airflow.ui.queries.checkpoint_rows import merge_metrics, summarise_record
from assay_airflow.ui.queries.origins import Origin, find_origins, list_live
from assay_airflow.ui.queries.records import list_entries, list_suites, load_rows
from assay_airflow.ui.queries.run_names import RunName, parse_suite
from ray_jobs.storage.index import IndexEntry


def get_suites(request: Request, user: GetUserDep, session: SessionDep) -> Response:
    """Each suite with the number of its runs that the user may see, and the time of the newest."""
    origins = find_origins(session)
    readable = list_readable_dags({origin.dag_id for origin in origins.values()}, request, user)
    suites = []
    for name in list_suites():
        entries = _keep_readable(list_entries(name), origins, readable)
        if entries:
            suites.append({"name": name, "runs": len(entries), "newest": _format_stamp(entries[-1].published_at)})
    return json_answer({"suites": suites})


def get_checkpoints(request: Request, user: GetUserDep, session: SessionDep, suite: str) -> Response:
    """All runs of a suite that the user may see, oldest first, and the validations that are under way."""
    name = parse_suite(suite)
    origins = find_origins(session)
    readable = list_readable_dags({origin.dag_id for origin in origins.values()}, request, user)
    entries = _keep_readable(list_entries(name), origins, readable)
    loaded, problems = load_rows(entries, summarise_record)
    metrics = merge_metrics(loaded)
    accepted, last, faults = find_accepted(name, entries)
    rows = []
    for row in loaded:
        key = (row["series"], *row["run"].split("/", 1))
        decided = {"accepted": key in accepted, "decision": describe_decision(last.get(key))}
        rows.append(_add_origin(row, origins) | decided)
    return json_answer(
        {
            "suite": name,
            "margin_metric": next((metric["name"] for metric in metrics if metric["margin"] is not None), None),
            "metrics": metrics,
            "rows": rows,
            "live": list_live(session, name) if VALIDATION_DAG in readable else [],
            "problems": problems + faults,
        }
    )


def _keep_readable(entries: list[IndexEntry], origins: dict[RunName, Origin], readable: set[str]) -> list[IndexEntry]:
    return [entry for entry in entries if _dag_of(entry, origins) in readable]


def _dag_of(entry: IndexEntry, origins: dict[RunName, Origin]) -> str:
    origin = origins.get(RunName(entry.checkpoint_folder, entry.run_id))
    return origin.dag_id if origin else VALIDATION_DAG


def _add_origin(row: dict[str, Any], origins: dict[RunName, Origin]) -> dict[str, Any]:
    origin = origins.get(RunName(*row["run"].split("/", 1)))
    dag_run = {"dag_id": origin.dag_id, "run_id": origin.run_id} if origin else None
    return {key: value for key, value in row.items() if key != "about"} | {"dag_run": dag_run}


def _format_stamp(stamp: str) -> str:
    """Returns the time in an entry's key, such as 20261201T002432.369483Z, in ISO 8601."""
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:11]}:{stamp[11:13]}:{stamp[13:]}"


router = APIRouter()
router.add_api_route("/suites", get_suites)
router.add_api_route("/checkpoints", get_checkpoints)
