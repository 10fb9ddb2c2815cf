"""The pages' bundle, built from its sources into a folder of its own: once a process, by node where there is one."""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

REPO = Path(__file__).parents[5]
STATIC = REPO / "plugins" / "assay_airflow" / "ui" / "static"
PACKAGES = REPO / ".assay" / "web" / "node_modules"
NO_PACKAGES = 3  # the exit status of dev/pages.sh


@functools.cache
def build_pages() -> Path:
    """The folder with app.js, app.css and licences.txt; the test is skipped where node or its packages are missing."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("no node on this machine: the pages' bundle cannot be built from its sources")
    folder = tempfile.mkdtemp(prefix="assay-pages-")
    build = subprocess.run([REPO / "dev" / "pages.sh", folder], capture_output=True, text=True)
    if build.returncode == NO_PACKAGES:
        pytest.skip(f"npm cannot install what builds the pages' bundle: {build.stderr.strip()[-200:]}")
    assert build.returncode == 0, build.stdout + build.stderr
    return Path(folder)
