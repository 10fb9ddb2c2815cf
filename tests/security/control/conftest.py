"""Airflow in a fresh home, without the caller's settings, for the attacks on the control plane."""

import os
import tempfile

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="assay-airflow-"))  # before anything imports airflow
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
from pathlib import Path

import pytest
from odd_folders import write


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's AWS, Ray or Assay settings reaches an attack."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ASSAY_", "AIRFLOW_CONN_")):
            monkeypatch.delenv(name)


@pytest.fixture
def watched_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CHECKPOINTS", str(tmp_path / "in"))
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path / "suites"))
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "small.yaml").write_text("name: small\ndataset: {source: /data/images}\n")
    write(tmp_path / "in" / "good", {})
    return tmp_path / "in"
