from collections.abc import Iterator
from pathlib import Path

import pytest
from forking import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A folder for fork servers, with none in it yet. Those that are started end with the test."""
    new_host = Host(tmp_path)
    yield new_host
    new_host.end()
