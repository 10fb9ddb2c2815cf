"""The attacks on the data plane use the helpers of its other tests."""

import os

import pytest


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the caller's settings reaches a test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ASSAY_")) or name == "RAY_ADDRESS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of half a second for computing and for silence."""
    monkeypatch.setenv("ASSAY_ENGINE_SILENCE", "1")
