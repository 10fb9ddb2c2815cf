from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from assay_airflow.triggers.checkpoint_prefix import CheckpointPrefixTrigger


@pytest.fixture
def dag(bag: DagBag) -> Any:
    return bag.dags["checkpoint_router"]


def test_one_pass_at_a_time_every_night(dag: Any) -> None:
    assert dag.max_active_runs == 1
    assert dag.timetable.timetable.expression == "0 2 * * *"


def test_the_night_may_begin_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_NIGHTLY_CRON", "30 4 * * *")
    file = Path(__file__).parents[2] / "dags" / "checkpoint_router.py"
    timetable: Any = DagBag(str(file)).dags["checkpoint_router"].timetable
    assert timetable.timetable.expression == "30 4 * * *"


def test_the_asset_has_a_watcher_of_the_folder(dag: Any) -> None:
    watchers = [watcher for asset in dag.timetable.asset_condition.objects for watcher in asset.watchers]
    assert [type(watcher.trigger) for watcher in watchers] == [CheckpointPrefixTrigger]


def test_the_router_waits_for_each_validation_in_its_pool_however_it_ends(dag: Any) -> None:
    arguments = dag.get_task("validate").partial_kwargs
    assert arguments["trigger_dag_id"] == "validate_checkpoint"
    assert (arguments["wait_for_completion"], arguments["deferrable"], arguments["pool"]) == (True, True, "router")
    assert (arguments["allowed_states"], arguments["failed_states"]) == (["success", "failed"], [])
    assert arguments["skip_when_already_exists"] is True
