"""A checkpoint's config, index and tokenizer on S3 are compared with the ETag that the store gives."""

import hashlib
from collections.abc import Iterator

import lying_s3
import pytest
from lying_s3 import Behaviour, LyingServer

from ray_jobs.checkpoints import config_files, files
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import s3_client

DATA = b'{"architectures": ["Tiny"]}'
OTHER = hashlib.md5(b"another").hexdigest()


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingServer]:
    with lying_s3.running() as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(s3_client._cache, "owner", None)
        yield server


def test_bytes_that_are_not_those_of_the_etag_are_trouble(liar: LyingServer) -> None:
    liar.objects["config.json"] = Behaviour(DATA, etag=OTHER)
    with pytest.raises(RetryableError, match="not those of its ETag"):
        files.read("s3://b/config.json", 1000)
    with pytest.raises(RetryableError, match="not those of its ETag"):
        config_files.read_json("s3://b/config.json", "s3://b")


def test_the_complete_object_is_read(liar: LyingServer) -> None:
    liar.objects["config.json"] = Behaviour(DATA)
    assert files.read("s3://b/config.json", len(DATA)) == DATA


def test_a_larger_object_is_refused(liar: LyingServer) -> None:
    liar.objects["config.json"] = Behaviour(DATA)
    with pytest.raises(InputError, match="more than the 5"):
        config_files.read_json("s3://b/config.json", "s3://b", most_bytes=5)
