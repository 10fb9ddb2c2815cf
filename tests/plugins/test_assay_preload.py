"""A task process is a fork of the scheduler, so it imports nothing that the scheduler has loaded as a plugin."""

import os
import subprocess
import sys
from pathlib import Path

from airflow._shared.module_loading import find_path_from_directory

REPO = Path(__file__).parents[2]


def test_a_task_imports_nothing_again(tmp_path: Path) -> None:
    settings = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPO / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "ASSAY_ROOT": "s3://bucket/root",
        "PYTHONPATH": str(REPO),
    }
    command = [sys.executable, str(Path(__file__).with_name("parse_after_preload.py"))]
    process = subprocess.run(command, env=os.environ | settings, check=True, capture_output=True, text=True)
    assert process.stdout.splitlines()[-1].split() == ["airflow.version"]


def test_airflow_runs_two_files_as_plugins() -> None:
    files = find_path_from_directory(REPO / "plugins", ".airflowignore")
    assert sorted(Path(file).name for file in files if file.endswith(".py")) == ["assay_pages.py", "assay_preload.py"]
