"""What every folder of tests shares: one S3 server for whoever asks for it."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The AWS variables of a running Swift with its S3 API."""
    import s3_server

    with s3_server.running(tmp_path_factory.mktemp("swift")) as variables:
        yield variables
