"""The demo's scripts import each other as `demo.*`, from the repository's root."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo() -> Path:
    return ROOT / "demo"
