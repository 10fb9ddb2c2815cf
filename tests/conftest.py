"""What every folder of tests shares: the sources importable, and one S3 server for whoever asks for it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
for folder in (ROOT, ROOT / "plugins", ROOT / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The AWS variables of a running Swift with its S3 API."""
    import s3_server

    with s3_server.running(tmp_path_factory.mktemp("swift")) as variables:
        yield variables
