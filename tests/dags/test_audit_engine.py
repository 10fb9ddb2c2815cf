from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from assay_airflow.operators.ray_job import RayJobOperator


@pytest.fixture
def dag(bag: DagBag) -> Any:
    return bag.dags["audit_engine"]


def test_one_pass_at_a_time_every_morning_after_the_nights_runs(dag: Any) -> None:
    assert dag.max_active_runs == 1
    assert dag.timetable.expression == "0 6 * * *"
    assert dag.is_paused_upon_creation is False


def test_the_morning_may_begin_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_AUDIT_CRON", "30 4 * * *")
    file = Path(__file__).parents[2] / "dags" / "audit_engine.py"
    timetable: Any = DagBag(str(file)).dags["audit_engine"].timetable
    assert timetable.expression == "30 4 * * *"


def test_ray_is_waited_for_only_when_something_is_to_be_audited(dag: Any) -> None:
    assert dag.get_task("choose").downstream_task_ids == {"wait_for_ray", "audit"}
    assert dag.get_task("wait_for_ray").downstream_task_ids == {"audit"}


def test_every_audit_is_a_ray_job_that_waits_for_the_gpu_in_its_pool(dag: Any) -> None:
    audit = dag.get_task("audit")
    assert audit.is_mapped
    assert audit.operator_class is RayJobOperator
    arguments = audit.partial_kwargs
    assert (arguments["stage"], arguments["pool"], arguments["job_timeout"]) == ("audit", "gpu", timedelta(hours=2))
    assert arguments["job_timeout"] < dag.dagrun_timeout


def test_the_form_explains_every_param_and_wants_none(dag: Any) -> None:
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema["title"], name
        assert param.description, name
    assert dag.params.validate() == {"checkpoint": None, "suite": None}
