"""A few tasks on a real cluster."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("run_few_tasks.py")


@pytest.mark.integration
def test_results_come_as_tasks_end_and_a_dead_worker_is_replaced(tmp_path: Path, on_cluster: object) -> None:
    run = subprocess.run([sys.executable, DRIVER, "die", tmp_path / "died"], capture_output=True, text=True, check=True)
    driver, results = json.loads(run.stdout.splitlines()[-1])
    assert sorted(row["number"] for row in results) == [0, 1, 2, 3]
    assert driver not in {row["pid"] for row in results}
    assert (tmp_path / "died").exists()


@pytest.mark.integration
def test_the_error_of_a_task_reaches_the_driver(tmp_path: Path, on_cluster: object) -> None:
    run = subprocess.run([sys.executable, DRIVER, "fail", tmp_path / "x"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout.splitlines()[-1]) == "image 2: is no image; remove it"
