"""A pass of the router sends requests only for new checkpoints: a stand-in for S3 (moto) counts them.

It requests at most as many runs as Airflow expands, however many checkpoints arrive at once.
"""

import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from assay_airflow import new_folders, router
from assay_airflow.new_folders import NewFolders
from assay_airflow.odd_folders import OddFolders
from moto_server import start_moto

from ray_jobs.checkpoints import fingerprints
from ray_jobs.storage import objects, s3_client

NOW = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)
LARGEST_MAP = 1024  # Airflow's max_map_length unless set


@pytest.fixture(scope="module")
def moto() -> Iterator[dict[str, str]]:
    with start_moto() as variables:
        yield variables


class Store:
    """A bucket, and the number of requests since the last call of `take`."""

    def __init__(self, name: str) -> None:
        self.uri, self._count = f"s3://{name}", 0
        s3_client.get_client().create_bucket(Bucket=name)
        s3_client.get_client().meta.events.register("before-send.s3.*", self._add)

    def _add(self, **_: Any) -> None:
        self._count += 1

    def take(self) -> int:
        count, self._count = self._count, 0
        return count

    def upload(self, name: str) -> None:
        header = json.dumps({"a": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
        files = {
            "config.json": b'{"architectures": ["Tiny"]}',
            "tokenizer.json": b"{}",
            "model.safetensors": struct.pack("<Q", len(header)) + header + f"{name:64}".encode(),
        }
        for file, content in files.items():
            objects.write(f"{self.uri}/in/{name}/{file}", content)

    def passes(self, run_ids_so_far: set[str], occasion: router.Occasion = "arrival") -> router.Pass:
        def count(run_ids: list[str], states: list[str] | None) -> int:
            return len(run_ids_so_far & set(run_ids))

        return router.run_pass(f"{self.uri}/root", "small", f"{self.uri}/in", count, occasion, NOW)


@pytest.fixture
def store(moto: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    for name, value in moto.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_client._cache, "owner", None)  # the client is kept
    return Store(f"scale-{abs(hash(request.node.name)) % 10**9}")


@pytest.mark.parametrize("checkpoint_count", [1, 10, 40])
def test_a_pass_over_known_checkpoints_sends_at_most_four_requests(checkpoint_count: int, store: Store) -> None:
    run_ids_so_far: set[str] = set()
    for number in range(checkpoint_count):
        store.upload(f"step-{number}")
    run_ids_so_far |= {request["trigger_run_id"] for request in store.passes(run_ids_so_far).requests}
    assert len(run_ids_so_far) == checkpoint_count
    store.take()
    assert store.passes(run_ids_so_far).requests == []
    assert store.take() <= 4, "a listing of the folder, one of the quarantine, one of the index, the notes"


def test_a_pass_opens_only_the_new_checkpoint(store: Store) -> None:
    run_ids_so_far: set[str] = set()
    for number in range(10):
        store.upload(f"step-{number}")
    run_ids_so_far |= {request["trigger_run_id"] for request in store.passes(run_ids_so_far).requests}
    store.take()
    store.upload("new")
    uploads = store.take()
    [request] = store.passes(run_ids_so_far).requests
    assert request["conf"]["checkpoint"] == f"{store.uri}/in/new"
    first = store.take()
    run_ids_so_far.add(request["trigger_run_id"])
    store.upload("step-3")  # overwritten with the same bytes: the same listing
    assert store.passes(run_ids_so_far).requests == []
    assert store.take() - uploads <= 4
    assert first <= 4 + 16, "opened once, by a few requests"


def test_an_odd_checkpoint_is_opened_again_only_by_the_nightly_pass(store: Store) -> None:
    store.upload("odd")
    objects.write(f"{store.uri}/in/odd/config.json", b"[]")
    assert len(store.passes(set()).passed_over) == 1
    store.take()
    assert len(store.passes(set()).passed_over) == 1
    assert store.take() <= 4
    assert len(store.passes(set(), "night").passed_over) == 1
    assert store.take() > 4


@pytest.mark.parametrize("checkpoint_count", [2, 20])
def test_a_poll_of_the_watcher_is_one_listing(checkpoint_count: int, store: Store) -> None:
    for number in range(checkpoint_count):
        store.upload(f"step-{number}")
    objects.write(f"{store.uri}/in/odd/config.json", b"[]")
    odd_folders = OddFolders()
    listing = router.list_whole(f"{store.uri}/in", {}, odd_folders)
    assert len(listing) == checkpoint_count
    store.take()
    assert router.list_whole(f"{store.uri}/in", listing, odd_folders) == listing
    assert store.take() == 1


@pytest.mark.parametrize("checkpoint_count", [2, 20])
def test_a_look_of_the_watcher_sends_a_request_for_the_names_and_one_per_new_folder(
    checkpoint_count: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_folders, "QUIET_S", -2.0)  # S3 dates its answers in whole seconds
    for number in range(checkpoint_count):
        store.upload(f"step-{number}")
    uri, odd_folders, folders = f"{store.uri}/in", OddFolders(), NewFolders()
    announced = router.list_whole(uri, {}, odd_folders)
    store.take()
    assert folders.find_ready(uri, announced, odd_folders) == {}
    assert store.take() == 1
    store.upload("new")
    store.take()
    assert folders.find_ready(uri, announced, odd_folders) == {}
    assert store.take() <= 2 + 5, "the names, its files, and five to see that it is whole"
    assert list(folders.find_ready(uri, announced, odd_folders)) == ["new"]
    assert store.take() == 2


@pytest.mark.slow
def test_many_checkpoints_are_requested_in_passes_that_airflow_can_expand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = LARGEST_MAP + 100
    for number in range(count):
        folder = tmp_path / "in" / f"step-{number}"
        folder.mkdir(parents=True)
        header = json.dumps({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
        (folder / "config.json").write_text('{"architectures": ["Tiny"]}')
        (folder / "tokenizer.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + f"{number:8}".encode())
    run_ids_so_far: list[str] = []

    def count_known(run_ids: list[str], states: list[str] | None) -> int:
        return len(set(run_ids_so_far) & set(run_ids))

    root, watched = str(tmp_path / "root"), str(tmp_path / "in")
    has_rest = True
    while has_rest:
        result = router.run_pass(root, "small", watched, count_known, "arrival", NOW)
        assert len(result.requests) <= router.MAX_REQUESTS < LARGEST_MAP
        assert len(result.requests) == router.MAX_REQUESTS or not result.rest
        run_ids_so_far += [request["trigger_run_id"] for request in result.requests]
        has_rest = result.rest
    assert len(run_ids_so_far) == len(set(run_ids_so_far)) == count
    monkeypatch.setattr(fingerprints, "with_fingerprint", lambda *_: pytest.fail("hashed again"))
    assert router.run_pass(root, "small", watched, count_known, "night", NOW).requests == []
