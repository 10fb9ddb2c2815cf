"""Render a task of our DAGs as a worker does before it runs it, with the run's conf and the XComs of earlier tasks."""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.definitions.param import process_params
from airflow.sdk.execution_time.context import MacrosAccessor

DAGS = Path(__file__).parents[3] / "dags"
with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as no_suites:
    patch.setenv("ASSAY_SUITES", no_suites)  # or Airflow refuses a hostile name of a suite before any task sees it
    BAG = DagBag(str(DAGS))
TASKS = sorted((dag_id, task.task_id) for dag_id, dag in BAG.dags.items() for task in dag.tasks)


class TaskInstance:
    """A stand-in that returns the XComs of earlier tasks."""

    def __init__(self, task: Any, run_id: str, xcoms: dict[str, Any]) -> None:
        self.task, self.dag_id, self.task_id, self.run_id = task, task.dag_id, task.task_id, run_id
        self.map_index = 0 if task.is_mapped else -1
        self.try_number = 1
        self._xcoms = xcoms

    def xcom_pull(self, task_ids: str, **_: Any) -> Any:
        return self._xcoms[task_ids]


def render(dag_id: str, task_id: str, run_id: str, conf: dict[str, Any], xcoms: dict[str, Any]) -> tuple[Any, str]:
    """The task as it would be executed, and its label in the grid ("" without one)."""
    dag = BAG.dags[dag_id]
    task = dag.get_task(task_id)
    task = task if task.is_mapped else task.prepare_for_execution()
    ti = TaskInstance(task, run_id, xcoms)
    context: Any = {
        "dag": dag,
        "dag_run": SimpleNamespace(conf=conf, run_id=run_id, run_type="manual"),
        "macros": MacrosAccessor(),
        "map_index_template": task.map_index_template,
        "params": process_params(dag, task, conf, suppress_exception=False),
        "run_id": run_id,
        "task": task,
        "task_instance": ti,
        "ti": ti,
    }
    env = dag.get_template_env()
    task.render_template_fields(context, env)
    template = context["map_index_template"]
    return context["task"], env.from_string(template).render(context) if template else ""


def texts(value: Any) -> list[str]:
    """Every text in a value, keys included."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for half in pair for text in texts(half)]
    if isinstance(value, list | tuple | set):
        return [text for item in value for text in texts(item)]
    return []
