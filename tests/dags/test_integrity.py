"""Rules for every DAG: its file imports fast and without I/O, it has an owner, and its page describes every task."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from assay_airflow.exceptions import DELAYS

REPO = Path(__file__).parents[2]
FILES = sorted((REPO / "dags").glob("*.py"))
DAG_IDS = sorted(file.stem for file in FILES)

HEAVY = {"aiobotocore", "boto3", "botocore", "numpy", "pandas", "pyarrow", "ray", "torch", "vllm"}

IMPORT_TWICE = Path(__file__).with_name("import_twice.py")


@functools.cache
def measure_import(file: Path) -> dict[str, Any]:
    """`loaded`: the packages after a first import. `seconds`: the processor time of a second one."""
    env = os.environ | {"PYTHONPATH": f"{REPO}:{REPO / 'plugins'}"}
    process = subprocess.run([sys.executable, IMPORT_TWICE, file], env=env, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    report: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return report


def test_the_dags_import(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == DAG_IDS  # a file is named after the DAG in it


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_second_import_of_a_file_does_no_io_and_is_quick(file: Path) -> None:
    assert measure_import(file)["seconds"] < 1  # of processor time, so that a busy machine does not count


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_first_import_loads_nothing_heavy(file: Path) -> None:
    """An import takes 0.3 s on top of Airflow's own libraries; boto3 alone would double that for every task."""
    loaded = set(measure_import(file)["loaded"])
    assert "assay_airflow" in loaded
    assert loaded.isdisjoint(HEAVY), loaded & HEAVY


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_every_dag_has_the_owner_and_tags(bag: DagBag, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert {task.owner for task in dag.tasks} == {"vlm-oncall"}
    assert "assay" in dag.tags
    assert len(dag.tags) >= 2


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_the_page_of_a_dag_describes_every_task(bag: DagBag, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert dag.doc_md
    assert "**On call:**" in dag.doc_md
    task_ids = set(re.findall(r"^- `(\w+)`:", dag.doc_md, re.MULTILINE))
    assert task_ids == {task.task_id for task in dag.tasks}


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_every_run_and_task_has_a_time_limit_and_retries(bag: DagBag, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert dag.dagrun_timeout
    assert not dag.catchup
    for task in dag.tasks:
        assert task.execution_timeout, task.task_id
        assert task.retries == len(DELAYS), task.task_id
        assert task.retry_exponential_backoff > 1, task.task_id
        assert task.max_retry_delay == DELAYS[-1], task.task_id
        assert task.retry_policy, task.task_id
