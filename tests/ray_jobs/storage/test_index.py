"""The index file: complete for any concurrent publishers, and rebuilt from the entries."""

import json
import math
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from noted_reads import note_reads
from samples import make_baseline, make_record, make_spec

from ray_jobs.contract.artifacts import Record, Summary
from ray_jobs.storage import index, index_rebuild, objects, records
from ray_jobs.storage.record_summary import summarise_record

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make_entry(root: str, number: int, **settings: Any) -> Record:
    spec = make_spec(root=root, fingerprint=f"{number:016x}", called=f"step-{number}", **settings)
    return make_record(spec, published_at=NOON + timedelta(minutes=number))


def names(loaded_index: index.Index) -> list[str]:
    return [line.checkpoint.name for line in loaded_index.records.values()]


def test_what_a_line_says(store: str) -> None:
    first = make_spec(root=store, fingerprint="1" * 16, called="step-0")
    second = make_spec(root=store).model_copy(update={"baseline": make_baseline(first)})
    nothing: dict[str, Any] = {"n": 0, "expected": 3, "mean": None, "standard_error": None, "low": None, "high": None}
    metrics = {
        "chrf": Summary(**nothing | {"mean": 61.234567891, "standard_error": 1 / 3}),
        "words": Summary(**nothing | {"n": 1, "mean": 12.0}),
        "judge": Summary(**nothing),
        "odd": Summary(**nothing | {"mean": math.inf}),
    }
    published = records.publish(
        store, make_record(second, "FAIL", NOON, "worse").model_copy(update={"metrics": metrics})
    )
    (line,) = index.load(store, "small").records.values()
    assert (line.run_uri, line.checkpoint, line.outcome, line.reason) == (
        published.run_uri, published.checkpoint, "FAIL", "worse",
    )  # fmt: skip
    assert (line.baseline, line.published_at, line.images) == ("step-0", NOON, published.images)
    assert line.means == {"chrf": (61.2346, 0.333333), "words": (12.0, None)}  # a missing mean has no entry


def test_newest_last_and_each_suite_its_own(store: str) -> None:
    for number in (3, 1, 2):
        records.publish(store, make_entry(store, number))
    records.publish(store, make_entry(store, 9, name="other"))
    assert names(index.load(store, "small")) == ["step-1", "step-2", "step-3"]
    assert names(index.load(store, "other")) == ["step-9"]
    assert names(index.load(store, "none")) == []


def test_publishing_reads_only_what_the_file_lacks(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        records.publish(store, make_entry(store, number))
    index.add(store, [make_entry(store, 5)])  # as a kill leaves it: listed, not in the file
    assert len(index.load(store, "small").records) < len(index.list_entries(store, "small"))
    reads = note_reads(monkeypatch, "read")
    records.publish(store, make_entry(store, 6))
    entries = [uri for uri, _ in reads if "/index/" in uri and not uri.endswith("/index.json")]
    assert len(entries) == 1
    assert "step-5" in entries[0]
    assert names(index.load(store, "small")) == [f"step-{number}" for number in range(7)]


def _publish(root: str, number: int, start: Barrier, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    start.wait()
    records.publish(root, make_entry(root, number))


def publish_at_once(store: str, numbers: range) -> None:
    """Publish these runs, each by a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["making", "pytest", "ray_jobs.storage.records"])
    start = context.Barrier(len(numbers))
    aws = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    racing = [context.Process(target=_publish, args=(store, number, start, aws)) for number in numbers]
    for process in racing:
        process.start()
    for process in racing:
        process.join()
    assert [process.exitcode for process in racing] == [0] * len(numbers)


@pytest.mark.slow
def test_eight_processes_that_publish_at_once_are_all_in_the_file(store: str) -> None:
    publish_at_once(store, range(8))
    assert names(index.load(store, "small")) == [f"step-{number}" for number in range(8)]


def test_a_slow_writer_that_puts_an_old_file_over_the_new_one_mends_it(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This interleaving alone would lose a record without the second check."""
    write = objects.write
    threads: list[Any] = []

    def write_slowly(uri: str, data: bytes) -> None:
        if uri.endswith("/index.json") and not threads:
            threads.append(uri)
            records.publish(store, make_entry(store, 2))  # from listing to writing, another run published
            assert "step-2" in names(index.load(store, "small"))
        write(uri, data)

    monkeypatch.setattr(objects, "write", write_slowly)
    records.publish(store, make_entry(store, 1))
    assert threads
    assert names(index.load(store, "small")) == ["step-1", "step-2"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"suite": "small", "records": {"a/b": {}}}'])
def test_a_file_that_cannot_be_read_is_made_again(store: str, content: bytes) -> None:
    records.publish(store, make_entry(store, 1))
    objects.write(f"{store}/index/small/index.json", content)
    assert names(index.load(store, "small")) == []
    records.publish(store, make_entry(store, 2))
    assert names(index.load(store, "small")) == ["step-1", "step-2"]


def test_a_deleted_record_is_dropped(store: str) -> None:
    for number in (1, 2):
        records.publish(store, make_entry(store, number))
    objects.delete(f"{make_entry(store, 1).run_uri}/record.json")
    objects.delete(index.entry_uri(store, make_entry(store, 1)))
    assert names(index.refresh(store, "small")) == ["step-2"]


def test_an_entry_that_holds_no_record_is_read_from_its_run(store: str) -> None:
    records.publish(store, make_entry(store, 1))
    objects.write(index.entry_uri(store, make_entry(store, 1)), b"overwritten")
    objects.delete(f"{store}/index/small/index.json")
    assert names(index.refresh(store, "small")) == ["step-1"]


def test_an_entry_without_a_record_stops_no_reader(store: str, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        records.publish(store, make_entry(store, number))
    objects.write(index.entry_uri(store, make_entry(store, 1)), b"{}")
    objects.delete(f"{make_entry(store, 1).run_uri}/record.json")
    objects.delete(f"{store}/index/small/index.json")
    for call in (index.refresh, index.load_complete):
        caplog.clear()
        assert names(call(store, "small")) == ["step-2"]
        assert {log_record.getMessage() for log_record in caplog.records if log_record.name == "assay"} == {
            f"index entry {index.entry_uri(store, make_entry(store, 1))}: no record of it can be read, left out; "
            f"run python -m ray_jobs.records rebuild {store}"
        }
    records.publish(store, make_entry(store, 3))
    assert names(index.load(store, "small")) == ["step-2", "step-3"]
    assert index_rebuild.rebuild_index(store) == (2, [])
    caplog.clear()
    index.load_complete(store, "small")
    assert not [log_record for log_record in caplog.records if log_record.name == "assay"]


def test_rebuilding_while_a_run_publishes_keeps_it(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    records.publish(store, make_entry(store, 1))
    objects.delete(index.entry_uri(store, make_entry(store, 1)))  # so that the rebuild writes it
    add = index.add

    def late(root: str, entries: list[Record]) -> None:
        if len(entries) == 1 and entries[0].checkpoint.name == "step-1":
            monkeypatch.setattr(index, "add", add)
            records.publish(store, make_entry(store, 2))  # after the rebuild has looked for records
        add(root, entries)

    monkeypatch.setattr(index, "add", late)
    assert index_rebuild.rebuild_index(store) == (1, [])
    assert names(index.load(store, "small")) == ["step-1", "step-2"]


def fill(root: str, runs: int) -> None:
    """Write this many entries and an index file that holds them all."""
    entries = [make_entry(root, number) for number in range(runs)]
    index.add(root, entries)
    index.refresh(root, "small", {index.key_of(entry): summarise_record(entry) for entry in entries})


def count_file_writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the bytes of each write of an index file."""
    write = objects.write
    sizes: list[int] = []

    def write_and_count(uri: str, data: bytes) -> None:
        if uri.endswith("/index.json"):
            sizes.append(len(data))
        write(uri, data)

    monkeypatch.setattr(objects, "write", write_and_count)
    return sizes


@pytest.mark.parametrize(("runs", "lag"), [(0, 0), (99, 0), (100, 1), (250, 2), (6400, 64), (10**6, 64)])
def test_how_many_entries_the_file_may_lack(runs: int, lag: int) -> None:
    assert index.max_lag(runs) == lag


def test_publishing_seldom_rewrites_the_file_of_many_runs_and_hides_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path)
    fill(root, 300)
    sizes = count_file_writes(monkeypatch)
    for number in range(300, 312):
        records.publish(root, make_entry(root, number))
        assert len(index.list_entries(root, "small")) - len(index.load(root, "small").records) <= 3
        assert names(index.load_complete(root, "small")) == [f"step-{run}" for run in range(number + 1)]
    assert len(sizes) == 3, "each fourth of twelve publishes writes it"


def test_publishing_reads_only_the_head_of_the_file_of_many_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path)
    fill(root, 200)
    reads = note_reads(monkeypatch, "read")
    records.publish(root, make_entry(root, 200))
    assert [uri for uri, _ in reads if "/index/" in uri] == []


def test_a_run_whose_outcome_changes_is_at_once_in_the_file_of_many_runs(tmp_path: Path) -> None:
    root = str(tmp_path)
    fill(root, 200)
    spec = make_spec(root=root, fingerprint="f" * 16, called="again")
    records.publish(root, make_record(spec, "INCOMPLETE", NOON))
    records.publish(root, make_record(spec, "PASS", NOON + timedelta(days=9)))
    outcomes = [line.outcome for line in index.load(root, "small").records.values() if line.run_id == spec.run_id]
    assert outcomes == ["PASS"]


def test_the_file_of_an_earlier_version_is_read_and_gets_its_count(tmp_path: Path) -> None:
    """That file has no `count`, so nobody knows how many entries it lacks before all of it is read."""
    root, file = str(tmp_path), tmp_path / "index" / "small" / "index.json"
    fill(root, 200)
    content = json.loads(file.read_bytes())
    assert content.pop("count") == 200
    file.write_text(json.dumps(content, separators=(",", ":")))
    assert names(index.load(root, "small")) == [f"step-{run}" for run in range(200)]
    records.publish(root, make_entry(root, 200))
    after = json.loads(file.read_bytes())
    assert after.pop("count") == 201
    assert list(after["records"])[:200] == list(content["records"])
    assert {key: after["records"][key] for key in content["records"]} == content["records"]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema":1,"suite":"small","count":"200","records":{}}'])
def test_a_damaged_file_of_many_runs_is_made_again_by_the_next_publisher(tmp_path: Path, content: bytes) -> None:
    root, file = str(tmp_path), tmp_path / "index" / "small" / "index.json"
    fill(root, 200)
    file.write_bytes(content)
    records.publish(root, make_entry(root, 200))
    assert names(index.load(root, "small")) == [f"step-{run}" for run in range(201)]


def test_publishers_that_are_killed_before_the_file_hide_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path)
    fill(root, 200)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(index, "refresh_if_behind", die)
        for number in range(200, 205):
            with pytest.raises(KeyboardInterrupt):
                records.publish(root, make_entry(root, number))
    assert len(index.load(root, "small").records) == 200
    assert len(index.load_complete(root, "small").records) == 205
    records.publish(root, make_entry(root, 205))
    assert len(index.load(root, "small").records) == 206


@pytest.mark.slow
def test_processes_that_publish_at_once_into_many_runs_hide_none(store: str) -> None:
    fill(store, 120)
    publish_at_once(store, range(120, 128))
    assert names(index.load_complete(store, "small")) == [f"step-{number}" for number in range(128)]
    assert len(index.load(store, "small").records) >= 127
