"""Every task of every DAG refuses a run with a mistyped key, and so do the functions that it calls."""

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from assay_airflow.run_conf import PARAMS

from ray_jobs.inputs.errors import InputError

FIRST = {
    "validate_checkpoint": "plan",
    "checkpoint_router": "reconcile",
    "audit_engine": "choose",
    "late_verdicts": "look",
}


def test_the_known_keys_are_the_params_of_the_dags(bag: DagBag) -> None:
    assert {dag_id: set(dag.params) for dag_id, dag in bag.dags.items()} == {
        dag_id: set(names) for dag_id, names in PARAMS.items()
    }


def hook_of(task: Any) -> Any:
    return task.partial_kwargs["pre_execute"] if hasattr(task, "partial_kwargs") else task._pre_execute_hook


@pytest.mark.parametrize("dag_id", PARAMS)
def test_no_task_begins_in_a_run_with_a_mistyped_key(bag: DagBag, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    right = PARAMS[dag_id][-1]
    wrong = f"{right}x"
    context = {"dag": dag, "dag_run": SimpleNamespace(conf={wrong: "nightly"})}
    for task in dag.tasks:
        with pytest.raises(InputError, match=f"unknown param '{wrong}'; did you mean '{right}'"):
            hook_of(task)(context)


@pytest.mark.parametrize("dag_id", FIRST)
def test_the_function_of_a_task_refuses_it_too(bag: DagBag, dag_id: str) -> None:
    task: Any = bag.dags[dag_id].get_task(FIRST[dag_id])
    params = dict.fromkeys(bag.dags[dag_id].params) | {"sute": "nightly"}
    arguments = {"params": params, "run_id": "manual__1", "dag_run": SimpleNamespace(run_type="manual"), "ti": None}
    names = task.python_callable.__code__.co_varnames[: task.python_callable.__code__.co_argcount]
    with pytest.raises(InputError, match="unknown param 'sute'; did you mean 'suite'"):
        task.python_callable(**{name: arguments[name] for name in names})
