"""A store that ignores conditional writes is reported before a job relies on it."""

from collections.abc import Iterator

import lying_s3
import pytest
from lying_s3 import LyingServer

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, s3_client
from ray_jobs.storage.store_probe import MARK, require_conditional_create


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingServer]:
    with lying_s3.running() as running:
        for name, value in running.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(s3_client._cache, "owner", None)
        yield running


@pytest.mark.parametrize("root", ["s3://bucket", "s3://bucket/deep/root"])
def test_a_store_that_ignores_the_condition_is_refused_each_time(server: LyingServer, root: str) -> None:
    server.honours_condition = False
    for _ in range(2):
        with pytest.raises(
            InputError, match=rf"^root {root}: the store ignores `If-None-Match: \*`[^\n]*; use a store"
        ):
            require_conditional_create(root)
    assert not server.objects


def test_a_store_that_honours_it_is_tried_once(server: LyingServer) -> None:
    require_conditional_create("s3://bucket/root")
    assert list(server.objects) == [f"root/{MARK}"]
    before = sum(server.asked.values())
    require_conditional_create("s3://bucket/root")
    assert sum(server.asked.values()) == before + 1


def test_an_answer_that_is_lost_is_no_reason_to_refuse(server: LyingServer) -> None:
    server.loses_answers = 1
    require_conditional_create("s3://bucket/root")
    assert list(server.objects) == [f"root/{MARK}"]


def test_a_directory_needs_no_trial(tmp_path: object) -> None:
    require_conditional_create(str(tmp_path))
    assert object_listing.list_subfolders(str(tmp_path)) == []
