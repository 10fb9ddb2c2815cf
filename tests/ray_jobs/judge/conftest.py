"""The key of a judge's endpoint, for the tests that use one."""

import pytest
from judge_endpoint import KEY


@pytest.fixture
def judge_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the endpoint's key in the environment, as a deployment does."""
    monkeypatch.setenv("ASSAY_JUDGE_KEY", KEY)
