import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from samples import make_record, make_spec

from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.spec import Baseline, Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import baselines, index_rebuild, object_listing, objects, records
from ray_jobs.storage import index as index_of_records
from ray_jobs.storage.index import load as loaded

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def index(root: str) -> dict[str, bytes]:
    return {
        entry.key: objects.read(f"{root}/index/{entry.key}")
        for entry in object_listing.iterate_entries(f"{root}/index")
    }


def test_publishing_again_keeps_the_first_record(store: str) -> None:
    spec = make_spec(root=store)
    first = records.publish(store, make_record(spec, "PASS", NOON))
    again = records.publish(store, make_record(spec, "FAIL", NOON + timedelta(days=1)))
    assert again == first
    assert records.read(spec.run_uri) == first
    assert [entry.outcome for entry in index_of_records.list_entries(store, "small")] == ["PASS"]


def test_a_lost_index_entry_comes_back_with_the_next_publish(store: str) -> None:
    record = make_record(make_spec(root=store), published_at=NOON)
    records.publish(store, record)
    before = index(store)
    for key in before:
        objects.delete(f"{store}/index/{key}")
    records.publish(store, record)
    assert index(store) == before


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
    assert {entry.run_id for entry in index_of_records.list_entries(store, "small")} == {
        record.run_id for record in published
    }


def test_what_an_entry_says(store: str) -> None:
    spec = make_spec(root=store, called="step--3 (best)")
    records.publish(store, make_record(spec, "INCONCLUSIVE", NOON))
    (entry,) = index_of_records.list_entries(store, "small")
    assert entry == (
        "small",
        spec.series_id,
        "20260101T120000.000000Z",
        "step-3-best-ffffffff",
        spec.run_id,
        "INCONCLUSIVE",
    )
    assert entry.run_uri(store) == spec.run_uri
    assert index_of_records.list_entries(store, "another") == []


def test_entries_come_oldest_first_over_all_series(store: str) -> None:
    days = [3, 1, 2]
    for day in days:
        spec = make_spec(root=store, called=f"day-{day}", caption__prompt=f"question {day % 2}")
        records.publish(store, make_record(spec, published_at=NOON + timedelta(days=day)))
    names = [entry.checkpoint_folder[:5] for entry in index_of_records.list_entries(store, "small")]
    assert names == ["day-1", "day-2", "day-3"]


def test_rebuilding_gives_the_index_that_publishing_gave(store: str) -> None:
    for number in range(3):
        spec = make_spec(root=store, fingerprint=f"{number:016x}", name=f"suite-{number % 2}")
        records.publish(store, make_record(spec, "PASS", NOON + timedelta(days=number)))
    before = index(store)
    assert len(before) == 3 + 2  # the entries, and a file of all of them for each suite
    absent, present = sorted(key for key in before if "--" in key)[:2]
    objects.write(f"{store}/index/suite-1/index.json", b"overwritten")
    objects.delete(f"{store}/index/{absent}")
    objects.write(f"{store}/index/{present}", b"overwritten")
    objects.write(f"{store}/index/suite-0/scale/20200101T000000.000000Z--gone-00000000--0123--PASS.json", b"{}")
    assert index_rebuild.rebuild_index(store) == (3, [])
    assert index(store) == before


def test_the_command_rebuilds(tmp_path: Path) -> None:
    records.publish(str(tmp_path), make_record(make_spec(root=str(tmp_path))))
    before = index(str(tmp_path))
    for key in before:
        objects.delete(f"{tmp_path}/index/{key}")
    command = [sys.executable, "-m", "ray_jobs.records", "rebuild", str(tmp_path)]
    root = Path(__file__).parents[3]
    process = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert process.stdout == "1 records indexed\n"
    assert index(str(tmp_path)) == before


def test_a_record_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    root = str(tmp_path)
    good, broken = make_spec(root=root), make_spec(root=root, fingerprint="b" * 16, called="step-2")
    for spec in (good, broken):
        records.publish(root, make_record(spec))
    objects.write(f"{broken.run_uri}/record.json", b"{}")
    command = [sys.executable, "-m", "ray_jobs.records", "rebuild", root]
    process = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    assert process.stdout == "1 records indexed, 1 left out\n"
    assert process.stderr == (
        f"left out: {broken.run_uri}/record.json: not a record of this version (ValidationError); "
        "publish that run again\n"
    )
    assert [entry.run_id for entry in index_of_records.list_entries(root, "small")] == [good.run_id]
    assert records.publish(root, make_record(broken)).run_id == broken.run_id  # the remedy that the line names
    assert len(index_of_records.list_entries(root, "small")) == 2


def test_an_invalid_entry_is_none(store: str) -> None:
    records.publish(store, make_record(make_spec(root=store)))
    for name in ("README.json", "a--b.json", "x/notes.txt", "20260101--step--0123--PASS.json.bak"):
        objects.write(f"{store}/index/small/{make_spec(root=store).series_id}/{name}", b"{}")
    assert len(index_of_records.list_entries(store, "small")) == 1


# --- a record that another replaces -----------------------------------------------------------------------------------


def make_told_record(spec: Spec, outcome: str, day: int = 0, reason: str = "as told") -> Record:
    return make_record(spec, outcome, NOON + timedelta(days=day), reason)


def assert_current(root: str, spec: Spec, outcome: str, reason: str = "as told") -> None:
    """Record, entries and index file all have this outcome and reason for the run."""
    assert (records.read(spec.run_uri).verdict.outcome, records.read(spec.run_uri).verdict.reason) == (outcome, reason)
    assert [entry.outcome for entry in index_of_records.list_entries(root, "small") if entry.run_id == spec.run_id] == [
        outcome
    ]
    lines = [entry for entry in loaded(root, "small").records.values() if entry.run_id == spec.run_id]
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
    assert name_of(baselines.find_baseline(candidate, "last-accepted")) == "step-2"
    assert name_of(baselines.find_anchor(candidate, "first")) == "step-1"
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
    assert index_of_records.list_entries(store, "small"), "the run is in no index"
    if mended_by == "rebuild" and killed_at != "/record.json":  # before, the old one stands, and a retry publishes
        assert index_rebuild.rebuild_index(store) == (1, [])
    else:
        records.publish(store, make_told_record(spec, "PASS", 2))
    assert_current(store, spec, "PASS")


def test_an_older_record_that_is_entered_late_does_not_hide_the_newer(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between writing its record and adding its entry, another publisher publishes the run's next record."""
    spec, add = make_spec(root=store), index_of_records.add
    threads: list[Any] = []
    records.publish(store, make_told_record(spec, "INCOMPLETE", 0, "judge down"))

    def late(root: str, entries: list[Record]) -> None:
        if not threads:
            threads.append(entries)
            records.publish(store, make_told_record(spec, "PASS", 2))
            assert_current(store, spec, "PASS")
        add(root, entries)

    monkeypatch.setattr(index_of_records, "add", late)
    assert (
        records.publish(store, make_told_record(spec, "INCOMPLETE", 1, "less of it is down")).verdict.outcome == "PASS"
    )
    assert_current(store, spec, "PASS")


def test_a_record_replaced_while_the_index_is_rebuilt(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, add = make_spec(root=store), index_of_records.add
    threads: list[Any] = []
    records.publish(store, make_told_record(spec, "INCOMPLETE"))

    def late(root: str, entries: list[Record]) -> None:
        if not threads:
            threads.append(entries)
            records.publish(store, make_told_record(spec, "PASS", 1))  # after the rebuild has read the old record
        add(root, entries)

    monkeypatch.setattr(index_of_records, "add", late)
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
    folders = {entry.checkpoint_folder for entry in index_of_records.list_entries(store, "small")}
    assert folders == {"step-0-00000000", "step-1-00000000", "step-2-00000000"}
    assert overwritten.checkpoint.folder not in folders


# --- what a run is compared with --------------------------------------------------------------------------------------


def publish_run(
    root: str, number: int, outcome: str, baseline_setting: str = "last-accepted", anchor: str | None = None
) -> Spec:
    """Plan, record and publish a run as `plan` and `publish` do. Returns its spec."""
    settings = {"gate__baseline": baseline_setting, "gate__anchor": anchor}
    spec = make_spec(root=root, fingerprint=f"{number}" * 16, called=f"step-{number}", **settings)
    spec = spec.model_copy(update={"baseline": baselines.find_baseline(spec, baseline_setting)})
    spec = spec.model_copy(update={"anchor": baselines.find_anchor(spec, anchor)})
    objects.write(spec.uri, spec.model_dump_json().encode())
    records.publish(root, make_record(spec, outcome, NOON + timedelta(minutes=number)))
    return spec


def name_of(baseline: Baseline | None) -> str | None:
    return baseline.checkpoint.name if baseline else None


def test_the_previous_baseline_is_the_last_run_with_a_verdict(store: str) -> None:
    spec = make_spec(root=store)
    assert baselines.find_baseline(spec, "previous") is None
    for number, outcome in enumerate(("PASS", "FAIL", "INCONCLUSIVE"), start=1):
        publish_run(store, number, outcome)
        assert name_of(baselines.find_baseline(spec, "previous")) == f"step-{number}"
    publish_run(store, 4, "INCOMPLETE")
    assert name_of(baselines.find_baseline(spec, "previous")) == "step-3"
    assert name_of(baselines.find_baseline(spec, "last-accepted")) == "step-1"
    assert baselines.find_baseline(spec, "none") is None


def test_a_repeated_run_keeps_its_baseline_and_anchor(store: str) -> None:
    first = publish_run(store, 1, "PASS", "previous", "first")
    second = publish_run(store, 2, "PASS", "previous", "first")
    third = publish_run(store, 3, "PASS", "previous", "first")
    publish_run(store, 4, "PASS")
    assert (first.baseline, first.anchor) == (None, None)
    assert (name_of(second.baseline), second.anchor) == (
        "step-1",
        None,
    )  # its baseline is the first: no anchor beside it
    assert (name_of(third.baseline), name_of(third.anchor)) == ("step-2", "step-1")
    for spec in (first, second, third):
        asked_again = spec.model_copy(update={"baseline": None, "anchor": None})
        assert baselines.find_baseline(asked_again, "previous") == spec.baseline
        asked_again = asked_again.model_copy(update={"baseline": spec.baseline})
        assert baselines.find_anchor(asked_again, "first") == spec.anchor


def test_other_words_are_another_question(store: str) -> None:
    for number in (1, 2):
        publish_run(store, number, "PASS")
    third = publish_run(store, 3, "FAIL", "none")
    assert third.baseline is None
    assert name_of(baselines.find_baseline(third, "last-accepted")) == "step-2"
    assert baselines.find_baseline(third, "none") is None


def test_the_anchor_stays_while_the_baseline_moves(store: str) -> None:
    publish_run(store, 1, "FAIL")
    for number in (2, 3, 4):
        publish_run(store, number, "PASS")
    spec = make_spec(root=store)
    spec = spec.model_copy(update={"baseline": baselines.find_baseline(spec, "last-accepted")})
    assert (name_of(spec.baseline), name_of(baselines.find_anchor(spec, "first"))) == ("step-4", "step-2")
    assert baselines.find_anchor(spec, None) is None
    assert name_of(baselines.find_anchor(spec, "/models/step-1")) == "step-1"
    assert baselines.find_anchor(spec, "/models/step-4") is None  # the baseline's own run


def test_no_checkpoint_is_its_own_anchor(store: str) -> None:
    first = publish_run(store, 1, "PASS")
    for anchor_setting in ("first", first.checkpoint.uri, first.run_uri):
        assert baselines.find_anchor(first, anchor_setting) is None


def test_a_named_anchor_that_was_never_validated(store: str) -> None:
    with pytest.raises(InputError, match=r"^anchor /models/step-9: no record of it in suite small with these images"):
        baselines.find_anchor(make_spec(root=store), "/models/step-9")


def test_another_prompt_is_another_series(store: str) -> None:
    publish_run(store, 1, "PASS")
    asked_otherwise = make_spec(root=store, caption__prompt="another question")
    for baseline_setting in ("last-accepted", "previous"):
        assert baselines.find_baseline(asked_otherwise, baseline_setting) is None
    with pytest.raises(InputError, match="no record of it"):
        baselines.find_baseline(asked_otherwise, "/models/step-1")


def test_a_question_in_other_words_takes_no_anchor_away(store: str) -> None:
    """By hand against the first run, which is then no anchor as well; by the nightly run it is one."""
    first = publish_run(store, 1, "PASS", anchor="first")
    publish_run(store, 2, "PASS", anchor="first")
    by_hand = publish_run(store, 3, "FAIL", first.run_uri, "first")
    assert (name_of(by_hand.baseline), by_hand.anchor) == ("step-1", None)
    nightly = publish_run(store, 3, "FAIL", "last-accepted", "first")
    assert (name_of(nightly.baseline), name_of(nightly.anchor)) == ("step-2", "step-1")


@pytest.mark.parametrize(
    ("content", "why"), [(None, "there is none"), (b"{}", r"not a record of this version \(ValidationError\)")]
)
@pytest.mark.parametrize("baseline_setting", ["last-accepted", "previous", "/models/step-1"])
def test_a_baseline_whose_record_cannot_be_read(
    store: str, content: bytes | None, why: str, baseline_setting: str
) -> None:
    first, spec = publish_run(store, 1, "PASS"), make_spec(root=store)
    objects.delete(f"{first.run_uri}/record.json")
    if content:
        objects.write(f"{first.run_uri}/record.json", content)
    told_by = rf"{first.run_uri}/record.json: {why}; publish that run again, or leave it out with "
    for ask, role in ((baselines.find_baseline, "baseline"), (baselines.find_anchor, "anchor")):
        words = (
            {"last-accepted": "first", "previous": "first"}.get(baseline_setting, baseline_setting)
            if role == "anchor"
            else baseline_setting
        )
        with pytest.raises(InputError, match=f"^{role} {words}: {told_by}") as error:
            ask(spec, words)
        assert "\n" not in str(error.value)
    index_rebuild.rebuild_index(store)
    if baseline_setting == "last-accepted":
        assert baselines.find_baseline(spec, baseline_setting) is None
