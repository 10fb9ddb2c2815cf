"""Run `checkpoint_router` once in an Airflow of its own, as `dag.test` does, without waiting for what it triggers.

`run_router.py CONF [DAG]`: the run's conf as JSON, and another DAG to run. The environment names
AIRFLOW_HOME, the DAGs' folder and Assay's settings.
The last line is JSON: the final state of each task, its label, and the run that it triggered.
"""

import json
import sys
from pathlib import Path
from typing import Any

from airflow import settings
from airflow.configuration import conf
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dagrun import DagRun, get_or_create_dagrun
from airflow.sdk import timezone
from airflow.sdk.definitions.dag import _run_task
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.db import initdb
from airflow.utils.state import TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType

DAGS = conf.get_mandatory_value("core", "dags_folder")


def main(run_conf: dict[str, Any], dag_id: str = "checkpoint_router") -> None:
    initdb()
    assert settings.Session is not None
    session = settings.Session()
    manager = DagBundlesManager()  # type: ignore[no-untyped-call]  # Airflow has no types for it
    manager.sync_bundles_to_db(session=session)
    session.commit()
    bag = BundleDagBag(dag_folder=DAGS, bundle_path=Path(DAGS), bundle_name="dags-folder")
    sync_bag_to_db(bag, "dags-folder", None)
    dag, now = bag.dags[dag_id], timezone.utcnow()
    run = get_or_create_dagrun(
        dag=DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)),
        start_date=now,
        logical_date=now,
        data_interval=None,
        run_after=now,
        run_id="manual__1",
        session=session,
        conf=run_conf,
        triggered_by=DagRunTriggeredByType.TEST,
        triggering_user_name="attacker",
    )
    while True:
        ready, _ = run.update_state(session=session)
        session.commit()
        if not ready:
            break
        for ti in ready:
            ti.try_number += 1
            ti.state = TaskInstanceState.SCHEDULED
            session.commit()
            _run_task(ti=ti, task=dag.get_task(ti.task_id))
        session.expire_all()
    tasks = [(ti.task_id, str(ti.state), ti.rendered_map_index) for ti in run.get_task_instances(session=session)]
    triggered = session.query(DagRun).filter(DagRun.dag_id == "validate_checkpoint")
    print(json.dumps({"tasks": tasks, "triggered": {run.run_id: run.conf for run in triggered}}))


main(json.loads(sys.argv[1]), *sys.argv[2:])
