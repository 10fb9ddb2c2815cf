from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import TaskGroup
from airflow.sdk.exceptions import ParamValidationError
from assay_airflow.operators.ray_job import RayJobOperator


@pytest.fixture
def dag(bag: DagBag) -> Any:
    return bag.dags["validate_checkpoint"]


def test_the_stages_follow_each_other(dag: Any) -> None:
    order = ["wait_for_checkpoint", "plan", "preprocess", "caption", "evaluate", "publish", "verdict"]
    for before, after in pairwise(order):
        assert after in dag.get_task(before).downstream_task_ids


def test_no_check_delays_what_does_not_need_it(dag: Any) -> None:
    neighbours = {
        name: (dag.get_task(name).upstream_task_ids, dag.get_task(name).downstream_task_ids)
        for name in ("wait_for_ray", "golden_ready")
    }
    assert neighbours == {
        "wait_for_ray": (set(), {"preprocess"}),
        "golden_ready": ({"preprocess"}, {"evaluate"}),
    }


def test_the_graph_has_three_groups_and_no_edge_that_another_path_implies(dag: Any) -> None:
    children = dag.task_group.children.items()
    groups = {name: sorted(group.children) for name, group in children if isinstance(group, TaskGroup)}
    assert groups == {
        "wait": ["wait_for_checkpoint", "wait_for_ray"],
        "prepare": ["golden_ready", "plan", "plan_following", "preprocess"],
        "gpu": ["caption", "evaluate"],
    }  # and tasks that a folded group would hide
    edges = {(task.task_id, below) for task in dag.tasks for below in task.downstream_task_ids}
    assert {(above, below) for above, below in edges if above == "plan"} == {
        ("plan", "preprocess"),
        ("plan", "plan_following"),
    }
    assert len(edges) == 14


def test_the_next_checkpoint_is_planned_after_this_one_and_passed_to_caption_only(dag: Any) -> None:
    following = dag.get_task("plan_following")
    assert (following.upstream_task_ids, following.downstream_task_ids) == ({"plan"}, {"caption"})
    next_specs: dict[str, Any] = {job.stage: job.next_spec_uri for job in dag.tasks if isinstance(job, RayJobOperator)}
    assert next_specs.pop("caption").operator is following
    assert next_specs == {"preprocess": None, "evaluate": None}


def test_tasks_that_need_the_gpu_are_in_its_pool(dag: Any) -> None:
    assert {task.task_id for task in dag.tasks if task.pool == "gpu"} == {"caption", "evaluate"}


def test_verdicts_come_before_the_captions_of_other_runs(dag: Any) -> None:
    caption, evaluate = dag.get_task("caption"), dag.get_task("evaluate")
    assert [str(task.weight_rule) for task in (caption, evaluate)] == ["absolute", "absolute"]
    assert evaluate.priority_weight > caption.priority_weight


def test_every_ray_job_has_less_time_than_the_run(dag: Any) -> None:
    jobs = [task for task in dag.tasks if isinstance(task, RayJobOperator)]
    assert [job.stage for job in jobs] == ["preprocess", "caption", "evaluate"]
    assert all(job.job_timeout < dag.dagrun_timeout for job in jobs)


def test_the_form_explains_every_param(dag: Any) -> None:
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema["title"], name
        assert param.description, name


def test_no_field_of_the_form_is_red_before_anybody_typed(dag: Any) -> None:
    """Airflow's form shows an empty field in red unless its type allows null."""
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.value is not None or "null" in param.schema["type"], name


def test_the_form_offers_the_suites_and_puts_the_routers_param_aside(dag: Any) -> None:
    assert dag.params.get_param("suite").schema["enum"] == ["demo", "demo-fields"]
    sections = {name: dag.params.get_param(name).schema.get("section") for name in dag.params}
    assert sections == {
        "checkpoint": None,
        "suite": None,
        **dict.fromkeys(["baseline", "force", "appear_minutes"], "Options"),
        "following": "Set by the router",
    }


def test_the_dag_has_no_schedule_and_is_not_paused(dag: Any) -> None:
    assert not dag.timetable.can_be_scheduled
    assert dag.is_paused_upon_creation is False


def validate_params(dag: Any, conf: dict[str, Any]) -> dict[str, Any]:
    """The params of a run that is triggered with these."""
    params = deepcopy(dag.params)
    params.update(conf)
    return dict(params.validate())


@pytest.mark.parametrize(
    "conf",
    [
        {},
        {"checkpoint": ""},
        {"checkpoint": None},
        {"checkpoint": "/c", "suite": 7},
        {"checkpoint": "/c", "suite": "dmeo"},
        {"checkpoint": "/c", "force": "yes"},
        {"checkpoint": "/c", "appear_minutes": -1},
    ],
)
def test_a_wrong_param_is_refused_before_anything_runs(dag: Any, conf: dict[str, Any]) -> None:
    with pytest.raises(ParamValidationError):
        validate_params(dag, conf)


def test_the_conf_may_name_the_next_checkpoint(dag: Any) -> None:
    conf = {"checkpoint": "s3://c/step-1", "suite": "demo", "following": "s3://c/step-2"}
    assert validate_params(dag, conf)["following"] == "s3://c/step-2"


def test_only_the_checkpoint_is_required(dag: Any) -> None:
    assert validate_params(dag, {"checkpoint": "s3://c/step-1"}) == {
        "checkpoint": "s3://c/step-1",
        "suite": "demo",
        "baseline": None,
        "force": False,
        "appear_minutes": 0,
        "following": None,
    }
