"""An Airflow that is nobody's own, with nothing of the caller's settings, for the attacks on the control plane."""

import os
import tempfile

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="assay-airflow-"))  # before anything imports airflow
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
import pytest


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's AWS, Ray or Assay settings reaches an attack."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ASSAY_", "AIRFLOW_CONN_")):
            monkeypatch.delenv(name)
