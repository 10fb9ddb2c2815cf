"""A run of the router in a real Airflow over folders whose names are templates."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from specs import write_checkpoint
from test_templates import TEMPLATES

REPO = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("router")


@pytest.fixture(scope="module")
def outcome(run_folder: Path) -> dict[str, Any]:
    """The result of one pass over a good checkpoint and one for each hostile name that a file system accepts."""
    names = ["step-1", *(f"step-2 {template}" for template in TEMPLATES.values() if "/" not in template)]
    for number, name in enumerate(names):
        write_checkpoint(run_folder / "checkpoints" / name, number.to_bytes(8, "big"))
    return run_router(run_folder, build_environment(run_folder), {"suite": "demo"})


def build_environment(run_folder: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ASSAY_", "AIRFLOW_"))}
    return env | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_HOME": str(run_folder / "home"),
        "ASSAY_CHECKPOINTS": str(run_folder / "checkpoints"),
        "ASSAY_ROOT": str(run_folder / "root"),
        "PYTHONPATH": f"{REPO}:{REPO / 'plugins'}",
    }


def run_router(run_folder: Path, env: dict[str, str], conf: dict[str, Any], *dag: str) -> dict[str, Any]:
    program = [sys.executable, str(Path(__file__).with_name("run_router.py"))]
    process = subprocess.run(
        [*program, json.dumps(conf), *dag], env=env, cwd=run_folder, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result | {"output": process.stdout + process.stderr}


def test_no_name_is_executed(outcome: dict[str, Any], run_folder: Path) -> None:
    assert sorted(path.name for path in run_folder.iterdir()) == ["checkpoints", "home", "root"]


def test_only_the_good_checkpoint_is_validated(outcome: dict[str, Any], run_folder: Path) -> None:
    ((run_id, conf),) = outcome["triggered"].items()
    assert conf == {"checkpoint": f"{run_folder}/checkpoints/step-1", "suite": "demo"}
    assert ["validate", "deferred", run_id] in outcome["tasks"]


@pytest.mark.parametrize(
    ("dag_id", "conf", "first"),
    [
        ("checkpoint_router", {"checkpoint": "/c"}, "reconcile"),
        ("validate_checkpoint", {"checkpoint": "/c", "sute": "demo"}, "wait_for_checkpoint"),
        ("audit_engine", {"Suite": "demo"}, "choose"),
    ],
)
def test_a_mistyped_key_of_a_runs_conf_ends_its_first_task(
    tmp_path: Path, dag_id: str, conf: dict[str, Any], first: str
) -> None:
    outcome = run_router(tmp_path, build_environment(tmp_path), conf, dag_id)
    assert [state for task, state, _ in outcome["tasks"] if task == first] == ["failed"]
    assert "unknown param " in outcome["output"]
    assert set(outcome["triggered"]) <= {"manual__1"}, "it triggered another run"
