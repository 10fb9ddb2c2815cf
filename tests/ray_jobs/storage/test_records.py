"""Records of runs: what publishing writes, and which of two records of one run stays."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from index_files import read_index_files
from samples import make_record, make_spec

from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import baselines, index, index_rebuild, objects, records

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_publishing_again_keeps_the_first_record(store: str) -> None:
    spec = make_spec(root=store)
    first = records.publish(store, make_record(spec, "PASS", NOON))
    again = records.publish(store, make_record(spec, "FAIL", NOON + timedelta(days=1)))
    assert again == first
    assert records.read(spec.run_uri) == first
    assert [entry.outcome for entry in index.list_entries(store, "small")] == ["PASS"]


def test_a_lost_index_entry_comes_back_with_the_next_publish(store: str) -> None:
    record = make_record(make_spec(root=store), published_at=NOON)
    records.publish(store, record)
    before = read_index_files(store)
    for key in before:
        objects.delete(f"{store}/index/{key}")
    records.publish(store, record)
    assert read_index_files(store) == before


def test_runs_that_publish_at_once_are_all_indexed(store: str) -> None:
    published = [
        make_record(make_spec(root=store, fingerprint=f"{n:016x}", called=f"step-{n}"), published_at=NOON)
        for n in range(8)
    ]
    threads = [threading.Thread(target=records.publish, args=(store, record)) for record in published]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.run_id for entry in index.list_entries(store, "small")} == {record.run_id for record in published}


def test_what_an_entry_says(store: str) -> None:
    spec = make_spec(root=store, called="step--3 (best)")
    records.publish(store, make_record(spec, "INCONCLUSIVE", NOON))
    (entry,) = index.list_entries(store, "small")
    assert entry == (
        "small",
        spec.series_id,
        "20260101T120000.000000Z",
        "step-3-best-ffffffff",
        spec.run_id,
        "INCONCLUSIVE",
    )
    assert entry.run_uri(store) == spec.run_uri
    assert index.list_entries(store, "another") == []


def test_entries_come_oldest_first_over_all_series(store: str) -> None:
    days = [3, 1, 2]
    for day in days:
        spec = make_spec(root=store, called=f"day-{day}", caption__prompt=f"question {day % 2}")
        records.publish(store, make_record(spec, published_at=NOON + timedelta(days=day)))
    names = [entry.checkpoint_folder[:5] for entry in index.list_entries(store, "small")]
    assert names == ["day-1", "day-2", "day-3"]


def test_an_invalid_entry_is_none(store: str) -> None:
    records.publish(store, make_record(make_spec(root=store)))
    for name in ("README.json", "a--b.json", "x/notes.txt", "20260101--step--0123--PASS.json.bak"):
        objects.write(f"{store}/index/small/{make_spec(root=store).series_id}/{name}", b"{}")
    assert len(index.list_entries(store, "small")) == 1


def make_told_record(spec: Spec, outcome: str, day: int = 0, reason: str = "as told") -> Record:
    return make_record(spec, outcome, NOON + timedelta(days=day), reason)


def assert_current(root: str, spec: Spec, outcome: str, reason: str = "as told") -> None:
    """Record, entries and index file all have this outcome and reason for the run."""
    assert (records.read(spec.run_uri).verdict.outcome, records.read(spec.run_uri).verdict.reason) == (outcome, reason)
    assert [entry.outcome for entry in index.list_entries(root, "small") if entry.run_id == spec.run_id] == [outcome]
    lines = [entry for entry in index.load(root, "small").records.values() if entry.run_id == spec.run_id]
    assert [(entry.outcome, entry.reason) for entry in lines] == [(outcome, reason)]


@pytest.mark.parametrize("outcome", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_incomplete_is_no_dead_end(store: str, outcome: str) -> None:
    spec = make_spec(root=store)
    records.publish(store, make_told_record(spec, "INCOMPLETE"))
    assert_current(store, spec, "INCOMPLETE")
    new = records.publish(store, make_told_record(spec, outcome, 1))
    assert_current(store, spec, outcome)
    assert new.published_at == NOON + timedelta(days=1)  # accepted then, not before
    assert records.publish(store, make_told_record(spec, "INCOMPLETE", 2)) == new, (
        "a late one took away what was decided"
    )
    assert_current(store, spec, outcome)


def test_incomplete_for_another_reason_records_the_new_reason(store: str) -> None:
    spec = make_spec(root=store)
    first = records.publish(store, make_told_record(spec, "INCOMPLETE", 0, "judge down"))
    assert records.publish(store, make_told_record(spec, "INCOMPLETE", 1, "judge down")) == first
    records.publish(store, make_told_record(spec, "INCOMPLETE", 1, "half of the judge is down"))
    assert_current(store, spec, "INCOMPLETE", "half of the judge is down")


def test_a_forced_result_replaces_the_record_and_keeps_its_place(store: str) -> None:
    first, second = (make_spec(root=store, fingerprint=f"{n}" * 16, called=f"step-{n}") for n in (1, 2))
    for day, spec in enumerate((first, second)):
        records.publish(store, make_told_record(spec, "PASS", day))
    new = records.publish(store, make_told_record(first, "PASS", 9, "forced"), replace=True)
    assert_current(store, first, "PASS", "forced")
    candidate = make_spec(root=store, fingerprint="3" * 16, called="step-3")
    baseline, anchor = baselines.find_baseline(candidate, "last-accepted"), baselines.find_anchor(candidate, "first")
    assert baseline is not None
    assert anchor is not None
    assert (baseline.checkpoint.name, anchor.checkpoint.name) == ("step-2", "step-1")
    assert records.publish(store, make_told_record(first, "PASS", 10, "forced"), replace=True) == new  # published twice
    records.publish(store, make_told_record(first, "FAIL", 11), replace=True)
    assert_current(store, first, "FAIL")


def test_a_concurrent_publisher_does_not_bring_the_old_result_back(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The publisher read the index file before a forced result replaced a line, and writes it afterwards."""
    spec, other, write = make_spec(root=store), make_spec(root=store, fingerprint="2" * 16), objects.write
    threads: list[Any] = []
    records.publish(store, make_told_record(spec, "PASS"))

    def write_slowly(uri: str, data: bytes) -> None:
        if uri.endswith("/index.json") and not threads:
            threads.append(uri)
            records.publish(store, make_told_record(spec, "PASS", 9, "forced"), replace=True)
            assert_current(store, spec, "PASS", "forced")
        write(uri, data)

    monkeypatch.setattr(objects, "write", write_slowly)
    records.publish(store, make_told_record(other, "PASS", 1))
    assert_current(store, spec, "PASS", "forced")
    assert_current(store, other, "PASS")


WRITES = ["/record.json", "--PASS.json", "--INCOMPLETE.json", "/index.json"]  # in the order in which they are made


@pytest.mark.parametrize("mended_by", ["publish", "rebuild"])
@pytest.mark.parametrize("killed_at", WRITES)
def test_a_kill_while_a_record_is_replaced(
    store: str, monkeypatch: pytest.MonkeyPatch, killed_at: str, mended_by: str
) -> None:
    spec = make_spec(root=store)
    records.publish(store, make_told_record(spec, "INCOMPLETE"))

    class KilledError(Exception):
        pass

    def unless_killed(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(uri: str, *data: bytes) -> Any:
            if uri.endswith(killed_at):
                raise KilledError
            return call(uri, *data)

        return called

    with monkeypatch.context() as patched:
        patched.setattr(objects, "write", unless_killed(objects.write))
        patched.setattr(objects, "create", unless_killed(objects.create))
        patched.setattr(objects, "delete", unless_killed(objects.delete))
        with pytest.raises(KilledError):
            records.publish(store, make_told_record(spec, "PASS", 1))
    assert index.list_entries(store, "small"), "the run is in no index"
    if mended_by == "rebuild" and killed_at != "/record.json":  # before, the old one stands, and a retry publishes
        assert index_rebuild.rebuild_index(store) == (1, [])
    else:
        records.publish(store, make_told_record(spec, "PASS", 2))
    assert_current(store, spec, "PASS")


def test_an_older_record_that_is_entered_late_does_not_hide_the_newer(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between writing its record and adding its entry, another publisher publishes the run's next record."""
    spec, add = make_spec(root=store), index.add
    threads: list[Any] = []
    records.publish(store, make_told_record(spec, "INCOMPLETE", 0, "judge down"))

    def late(root: str, entries: list[Record]) -> None:
        if not threads:
            threads.append(entries)
            records.publish(store, make_told_record(spec, "PASS", 2))
            assert_current(store, spec, "PASS")
        add(root, entries)

    monkeypatch.setattr(index, "add", late)
    assert (
        records.publish(store, make_told_record(spec, "INCOMPLETE", 1, "less of it is down")).verdict.outcome == "PASS"
    )
    assert_current(store, spec, "PASS")


def test_a_record_replaced_while_the_index_is_rebuilt(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, add = make_spec(root=store), index.add
    threads: list[Any] = []
    published = records.publish(store, make_told_record(spec, "INCOMPLETE"))
    objects.delete(index.entry_uri(store, published))  # so that the rebuild writes it

    def late(root: str, entries: list[Record]) -> None:
        if not threads:
            threads.append(entries)
            records.publish(store, make_told_record(spec, "PASS", 1))  # after the rebuild has read the old record
        add(root, entries)

    monkeypatch.setattr(index, "add", late)
    index_rebuild.rebuild_index(store)
    assert_current(store, spec, "PASS")


def test_two_forced_at_once_leave_one(store: str) -> None:
    spec = make_spec(root=store)
    records.publish(store, make_told_record(spec, "PASS"))
    times = [NOON + timedelta(days=1, microseconds=3**number) for number in range(6)]
    threads = [
        threading.Thread(
            target=records.publish,
            args=(store, make_record(spec, "FAIL", published_at, f"forced at {published_at}"), True),
        )
        for published_at in times
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_current(store, spec, "FAIL", records.read(spec.run_uri).verdict.reason)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, False), (b"{", False), ("INCOMPLETE", False), ("PASS", True), ("FAIL", True), ("INCONCLUSIVE", True)],
)
def test_what_is_decided(store: str, content: bytes | str | None, expected: bool) -> None:
    spec = make_spec(root=store)
    if content:
        data = content if isinstance(content, bytes) else make_record(spec, content).verdict.model_dump_json().encode()
        objects.write(f"{spec.run_uri}/verdict.json", data)
    assert records.has_final_verdict(spec.run_uri) is expected


def test_the_view_of_the_router(store: str) -> None:
    """The router subtracts the checkpoints with a record, whatever the verdict, from those in the folder."""
    for number, outcome in enumerate(("PASS", "FAIL", "INCOMPLETE")):
        spec = make_spec(root=store, fingerprint=f"{number:016x}", called=f"step-{number}")
        records.publish(store, make_record(spec, outcome, NOON + timedelta(hours=number)))
    overwritten = make_spec(root=store, fingerprint="e" * 16, called="step-0")
    folders = {entry.checkpoint_folder for entry in index.list_entries(store, "small")}
    assert folders == {"step-0-00000000", "step-1-00000000", "step-2-00000000"}
    assert overwritten.checkpoint.folder not in folders
