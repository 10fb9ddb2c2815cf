"""The demo's scripts import each other as `demo.*`, from the repository's root."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture
def demo() -> Path:
    return ROOT / "demo"
