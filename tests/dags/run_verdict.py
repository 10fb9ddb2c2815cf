"""Runs the end of `validate_checkpoint` in an Airflow of its own: what comes before ended in states that are given.

    python run_verdict.py SPEC STATES

SPEC is the URI of a spec with a record, STATES a JSON object of task ids and their states. Other tasks before `verdict`
succeeded. The last line is JSON: the state of the run, and of each task.
"""

import json
import sys
from pathlib import Path

from airflow import settings
from airflow.configuration import conf
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dagrun import get_or_create_dagrun
from airflow.models.xcom import XComModel
from airflow.sdk import timezone
from airflow.sdk.definitions.dag import _run_task
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.db import initdb
from airflow.utils.state import TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType

DAGS = conf.get_mandatory_value("core", "dags_folder")
LAST = ("verdict", "finish")


def main(spec_uri: str, states: dict[str, str]) -> None:
    initdb()
    assert settings.Session is not None
    session = settings.Session()
    manager = DagBundlesManager()  # type: ignore[no-untyped-call]  # Airflow has no types for it
    manager.sync_bundles_to_db(session=session)
    session.commit()
    bag = BundleDagBag(dag_folder=DAGS, bundle_path=Path(DAGS), bundle_name="dags-folder")
    sync_bag_to_db(bag, "dags-folder", None)
    dag, now = bag.dags["validate_checkpoint"], timezone.utcnow()
    run = get_or_create_dagrun(
        dag=DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)),
        start_date=now,
        logical_date=now,
        data_interval=None,
        run_after=now,
        run_id="manual__1",
        session=session,
        conf={"checkpoint": "/models/step-1"},
        triggered_by=DagRunTriggeredByType.TEST,
        triggering_user_name="a tester",
    )
    for ti in run.get_task_instances(session=session):
        if ti.task_id not in LAST:
            ti.state = TaskInstanceState(states.get(ti.task_id, "skipped" if ti.task_id == "ask" else "success"))
    XComModel.set(
        "return_value",
        spec_uri,
        dag_id=dag.dag_id,
        task_id="plan",
        run_id="manual__1",
        serialize=False,  # as a task's process does, which sends a value that is serialized already
        session=session,
    )
    session.commit()
    while str(run.state) not in ("success", "failed"):
        ready, _ = run.update_state(session=session)
        session.commit()
        for ti in ready:
            ti.try_number += 1
            ti.state = TaskInstanceState.SCHEDULED
            session.commit()
            _run_task(ti=ti, task=dag.get_task(ti.task_id))
        session.expire_all()
    tasks = {ti.task_id: str(ti.state) for ti in run.get_task_instances(session=session)}
    buttons = session.query(XComModel).filter(XComModel.task_id == "verdict", XComModel.key.startswith("_link_"))
    links = {row.key.removeprefix("_link_"): XComModel.deserialize_value(row) for row in buttons}
    print(json.dumps({"run": str(run.state), "tasks": tasks, "links": links}))


main(sys.argv[1], json.loads(sys.argv[2]))
