"""Finds in Airflow's database which dag run made which run, and which validations are under way.

The task `publish` leaves an asset event with the URI of the record. A dag run that has not published yet is found by
the spec that its task `plan` returned.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from assay_airflow.ui.access import VALIDATION_DAG
from assay_airflow.ui.queries.run_names import RunName, run_of_uri

ASSET = "assay_verdict"
MOST_EVENTS = 20_000
FRESH_SECONDS = 3.0
RAY_TASKS, RAY_LINK = ("evaluate", "caption", "preprocess"), "_link_RayJobLink"
UNDER_WAY = ("running", "queued")
MOST_LIVE = 100
ACTIVE_STATES = ("running", "deferred", "queued", "scheduled", "up_for_retry", "up_for_reschedule")


@dataclass(frozen=True)
class Origin:
    """The dag run that made a run."""

    dag_id: str
    run_id: str


_cache: dict[str, tuple[float, dict[RunName, Origin]]] = {}
_lock = Lock()


def find_origins(session: Session) -> dict[RunName, Origin]:
    """Returns the latest dag run that published each run. The answer may be FRESH_SECONDS old."""
    with _lock:
        read_at, origins = _cache.get("origins", (0.0, {}))
        if time.monotonic() - read_at < FRESH_SECONDS and origins:
            return origins
        origins = _read_origins(session)
        _cache["origins"] = (time.monotonic(), origins)
        return origins


def _read_origins(session: Session) -> dict[RunName, Origin]:
    rows = session.execute(
        select(AssetEvent.extra, AssetEvent.source_dag_id, AssetEvent.source_run_id)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetModel.name == ASSET, AssetEvent.source_dag_id.is_not(None))
        .order_by(AssetEvent.id.desc())
        .limit(MOST_EVENTS)
    )
    origins: dict[RunName, Origin] = {}
    for extra, dag_id, run_id in rows:
        uri = extra.get("record") if isinstance(extra, dict) else None
        if isinstance(uri, str) and (run := run_of_uri(uri)) and run_id:
            origins.setdefault(run, Origin(dag_id, run_id))
    return origins


def find_dag_run(session: Session, dag_id: str, dag_run_id: str) -> tuple[RunName, Origin] | None:
    """Returns the run that a dag run planned, and that dag run; None if it has planned none.

    A plus sign in a dag run's id may have arrived as a space, so both are looked up.
    """
    published = {origin: run for run, origin in _read_origins(session).items()}
    for run_id in dict.fromkeys((dag_run_id, dag_run_id.replace(" ", "+"))):
        origin = Origin(dag_id, run_id)
        spec_uri = _read_xcom(session, origin, "plan", "return_value")
        if run := (run_of_uri(spec_uri) if spec_uri else None) or published.get(origin):
            return run, origin
    return None


def find_ray_job(session: Session, origin: Origin) -> str | None:
    """Returns the address of the dag run's last Ray job in Ray's dashboard."""
    for task in RAY_TASKS:
        if link := _read_xcom(session, origin, task, RAY_LINK):
            return link if link.startswith(("http://", "https://")) else None
    return None


def _read_xcom(session: Session, origin: Origin, task: str, key: str) -> str | None:
    """Returns a text that a task left for others."""
    value = session.scalar(
        select(XComModel.value).where(
            XComModel.dag_id == origin.dag_id,
            XComModel.run_id == origin.run_id,
            XComModel.task_id == task,
            XComModel.key == key,
        )
    )
    return value.strip('"') if isinstance(value, str) else None


def list_live(session: Session, suite: str) -> list[dict[str, Any]]:
    """Returns the validations of the suite that are under way, oldest first."""
    dag_runs = session.scalars(
        select(DagRun)
        .where(DagRun.dag_id == VALIDATION_DAG, DagRun.state.in_(UNDER_WAY))
        .order_by(DagRun.id)
        .limit(MOST_LIVE)
    ).all()
    rows = []
    for dag_run in dag_runs:
        conf = dag_run.conf if isinstance(dag_run.conf, dict) else {}
        if conf.get("suite", "demo") != suite:
            continue
        rows.append(
            {
                "dag_id": dag_run.dag_id,
                "run_id": dag_run.run_id,
                "checkpoint": str(conf.get("checkpoint", "")).rstrip("/").rpartition("/")[2][:200] or None,
                "suite": suite,
                "stage": _find_stage(session, dag_run),
                "done": None,
                "total": None,
                "started": format_time(dag_run.start_date),
            }
        )
    return rows


def _find_stage(session: Session, dag_run: DagRun) -> str | None:
    """Returns the task that the dag run is at: the task that works, else the task that waits."""
    states: dict[str, Any] = dict(
        session.execute(
            select(TaskInstance.task_id, TaskInstance.state)
            .where(TaskInstance.dag_id == dag_run.dag_id, TaskInstance.run_id == dag_run.run_id)
            .order_by(TaskInstance.start_date.desc())
        )
        .tuples()
        .all()
    )
    for state in ACTIVE_STATES:
        if task := next((task for task, current in states.items() if str(current) == state), None):
            return task
    return None


def format_time(moment: datetime | None) -> str | None:
    """Returns the time in ISO 8601, in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
