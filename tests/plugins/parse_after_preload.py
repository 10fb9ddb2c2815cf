"""Load Airflow's plugins as the scheduler does, parse every DAG file as a task does, print what that imported anew."""

import sys
from pathlib import Path

import airflow.jobs.scheduler_job_runner  # noqa: F401  # as in the scheduler
from airflow.dag_processing.dagbag import DagBag
from airflow.listeners.listener import get_listener_manager
from airflow.sdk.listener import get_listener_manager as get_listener_manager_of_tasks

REPO = Path(__file__).parents[2]

get_listener_manager()
before = set(sys.modules)
get_listener_manager_of_tasks()

errors = DagBag(REPO / "dags").import_errors
assert not errors, errors
print(*sorted(name for name in sys.modules.keys() - before if not name.startswith("unusual_prefix_")))
