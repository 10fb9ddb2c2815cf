"""A run of the router in a real Airflow, over folders and with a suite that are named to be executed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from specs import checkpoint_in
from test_templates import TEMPLATES

REPO = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("router")


@pytest.fixture(scope="module")
def outcome(place: Path) -> dict[str, Any]:
    """What became of one pass over a good checkpoint and one below each hostile name that a file system can bear."""
    names = ["step-1", *(f"step-2 {template}" for template in TEMPLATES.values() if "/" not in template)]
    for number, name in enumerate(names):
        checkpoint_in(place / "checkpoints" / name, number.to_bytes(8, "big"))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ASSAY_", "AIRFLOW_"))}
    env |= {
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_HOME": str(place / "home"),
        "ASSAY_CHECKPOINTS": str(place / "checkpoints"),
        "ASSAY_ROOT": str(place / "root"),
        "PYTHONPATH": f"{REPO}:{REPO / 'plugins'}",
    }
    program = [sys.executable, str(Path(__file__).with_name("run_router.py"))]
    conf = json.dumps({"suite": "demo"})
    done = subprocess.run([*program, conf], env=env, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_nothing_is_executed(outcome: dict[str, Any], place: Path) -> None:
    assert sorted(path.name for path in place.iterdir()) == ["checkpoints", "home", "root"]


def test_only_the_good_checkpoint_is_validated(outcome: dict[str, Any], place: Path) -> None:
    ((run_id, conf),) = outcome["triggered"].items()
    assert conf == {"checkpoint": f"{place}/checkpoints/step-1", "suite": "demo"}
    assert ["validate", "deferred", run_id] in outcome["tasks"]
