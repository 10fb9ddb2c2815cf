"""URIs that Assay refuses, and absolute URIs."""

from pathlib import Path

import pytest

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects, uris


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gs://b/x", "gs://b/x: cannot open gs://; use s3://bucket/key or a local directory"),
        ("http://h/x", "http://h/x: cannot open http://; use s3://bucket/key or a local directory"),
        ("s3:///x", "s3:///x: names no bucket; use s3://bucket/key"),
    ],
)
def test_a_uri_it_cannot_open(uri: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        objects.read(uri)
    assert str(error.value) == message


def test_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert uris.make_absolute("a/b/") == f"{tmp_path}/a/b"
    assert uris.make_absolute("/a/b/") == "/a/b"
    assert uris.make_absolute("file:///a/b") == "/a/b"
    assert uris.make_absolute("s3://b/k/") == "s3://b/k"
    assert uris.make_absolute("~/x") == "/home/someone/x"
