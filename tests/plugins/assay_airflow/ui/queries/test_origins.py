"""What Airflow's database says: the validations that are under way, with the task that each is at."""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from assay_airflow.ui.queries.origins import list_live
from sqlalchemy import delete, insert

STARTED = datetime(2026, 12, 1, 0, 0, tzinfo=UTC)


def make_dag_run(run_id: str, state: DagRunState, suite: str) -> DagRun:
    return DagRun(
        dag_id="validate_checkpoint",
        run_id=run_id,
        logical_date=None,
        run_after=STARTED,
        start_date=STARTED,
        conf={"suite": suite, "checkpoint": "s3://checkpoints/run-a/step-7/"},
        state=state,
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
    )


@pytest.fixture
def dag_runs(database: None) -> Iterator[None]:
    """A run that captions, one that is over, and one of another suite."""
    with create_session() as session:
        session.add_all(
            [
                make_dag_run("running", DagRunState.RUNNING, "demo"),
                make_dag_run("over", DagRunState.SUCCESS, "demo"),
                make_dag_run("other", DagRunState.RUNNING, "nightly"),
            ]
        )
        session.flush()
        for number, (task, state) in enumerate({"plan": "success", "caption": "deferred", "evaluate": None}.items()):
            values = {"id": UUID(int=number), "task_id": task, "dag_id": "validate_checkpoint", "run_id": "running"}
            session.execute(insert(TaskInstance).values(**values, map_index=-1, pool="gpu", pool_slots=1, state=state))
    yield
    with create_session() as session:
        session.execute(delete(TaskInstance))
        session.execute(delete(DagRun))


def test_live_are_the_runs_of_the_suite_that_are_not_over(dag_runs: None) -> None:
    with create_session() as session:
        (live,) = list_live(session, "demo")
    assert live == {
        "dag_id": "validate_checkpoint",
        "run_id": "running",
        "checkpoint": "step-7",
        "suite": "demo",
        "stage": "caption",
        "done": None,
        "total": None,
        "started": "2026-12-01T00:00:00Z",
    }
