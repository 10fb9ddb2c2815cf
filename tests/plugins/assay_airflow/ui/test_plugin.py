"""The plugin loads neither FastAPI's pages nor DuckDB before a request, because each task builds it too."""

import os
import subprocess
import sys
from pathlib import Path

from assay_airflow.ui.plugin import AssayPages

REPO = Path(__file__).parents[4]
HEAVY = ("duckdb", "assay_airflow.ui.app", "assay_airflow.ui.routes")


def test_the_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    program = f"import assay_pages, sys; print([name for name in {HEAVY} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'plugins'}", "AIRFLOW_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_each_view_has_a_route_of_its_own_below_the_application() -> None:
    views = AssayPages.external_views
    assert all(view["href"].startswith("/assay/?page=") for view in views)
    assert len({view["url_route"] for view in views}) == len(views) == 3
