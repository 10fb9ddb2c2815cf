"""Runs a DAG of the tree that is the working directory, with Airflow's own task runner and a fresh database.

python run_dag.py DAG CONF      CONF: JSON
"""

import json
import sys

from airflow.utils.db import initdb

initdb()

from airflow.dag_processing.dagbag import DagBag  # noqa: E402  # reads the database that is made above

dag = DagBag("dags").dags[sys.argv[1]]
dag.test(run_conf=json.loads(sys.argv[2]), mark_success_pattern="wait_for.*")
