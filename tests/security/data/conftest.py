"""The attacks on the data plane use what its other tests are made of."""

import os
import sys
from pathlib import Path

import pytest

MAKERS = Path(__file__).parents[2] / "ray_jobs"
sys.path += [str(MAKERS), str(MAKERS / "judge"), str(MAKERS / "report")]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's settings reaches a test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ASSAY_")) or name == "RAY_ADDRESS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
