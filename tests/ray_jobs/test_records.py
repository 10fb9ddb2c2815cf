import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from making import record, spec

from ray_jobs import records, storage
from ray_jobs.contract import BadInput, Baseline, Spec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def index(root: str) -> dict[str, bytes]:
    return {entry.key: storage.read(f"{root}/index/{entry.key}") for entry in storage.entries(f"{root}/index")}


def test_publishing_again_keeps_the_first_record(store: str) -> None:
    made = spec(root=store)
    first = records.publish(store, record(made, "PASS", NOON))
    again = records.publish(store, record(made, "FAIL", NOON + timedelta(days=1)))
    assert again == first
    assert records.read(made.run_uri) == first
    assert [entry.outcome for entry in records.published(store, "small")] == ["PASS"]


def test_a_lost_index_entry_comes_back_with_the_next_publish(store: str) -> None:
    made = record(spec(root=store), at=NOON)
    records.publish(store, made)
    before = index(store)
    for key in before:
        storage.delete(f"{store}/index/{key}")
    records.publish(store, made)
    assert index(store) == before


def test_runs_that_publish_at_once_are_all_indexed(store: str) -> None:
    made = [record(spec(root=store, fingerprint=f"{n:016x}", called=f"step-{n}"), at=NOON) for n in range(8)]
    threads = [threading.Thread(target=records.publish, args=(store, one)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.run_id for entry in records.published(store, "small")} == {one.run_id for one in made}


def test_what_an_entry_says(store: str) -> None:
    made = spec(root=store, called="step--3 (best)")
    records.publish(store, record(made, "INCONCLUSIVE", NOON))
    (entry,) = records.published(store, "small")
    assert entry == (
        "small",
        made.series_id,
        "20260101T120000.000000Z",
        "step-3-best-ffffffff",
        made.run_id,
        "INCONCLUSIVE",
    )
    assert entry.run_uri(store) == made.run_uri
    assert records.published(store, "another") == []


def test_entries_come_oldest_first_over_all_series(store: str) -> None:
    days = [3, 1, 2]
    for day in days:
        made = spec(root=store, called=f"day-{day}", caption__prompt=f"question {day % 2}")
        records.publish(store, record(made, at=NOON + timedelta(days=day)))
    names = [entry.checkpoint_folder[:5] for entry in records.published(store, "small")]
    assert names == ["day-1", "day-2", "day-3"]


def test_rebuilding_gives_the_index_that_publishing_gave(store: str) -> None:
    for number in range(3):
        made = spec(root=store, fingerprint=f"{number:016x}", name=f"suite-{number % 2}")
        records.publish(store, record(made, "PASS", NOON + timedelta(days=number)))
    before = index(store)
    assert len(before) == 3 + 2  # the entries, and a file of all of them for each suite
    lost, kept = sorted(key for key in before if "--" in key)[:2]
    storage.write(f"{store}/index/suite-1/index.json", b"overwritten")
    storage.delete(f"{store}/index/{lost}")
    storage.write(f"{store}/index/{kept}", b"overwritten")
    storage.write(f"{store}/index/suite-0/scale/20200101T000000.000000Z--gone-00000000--0123--PASS.json", b"{}")
    assert records.rebuild(store) == 3
    assert index(store) == before


def test_the_command_rebuilds(tmp_path: Path) -> None:
    records.publish(str(tmp_path), record(spec(root=str(tmp_path))))
    before = index(str(tmp_path))
    for key in before:
        storage.delete(f"{tmp_path}/index/{key}")
    command = [sys.executable, "-m", "ray_jobs.records", "rebuild", str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "1 records indexed\n"
    assert index(str(tmp_path)) == before


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    made = spec(root=str(tmp_path))
    storage.write(f"{made.run_uri}/record.json", b"{}")
    command = [sys.executable, "-m", "ray_jobs.records", "rebuild", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (f"{made.run_uri}/record.json: not a record of this version (ValidationError); remove it\n")


def test_the_view_of_the_router(store: str) -> None:
    """It subtracts what has a record, whatever the verdict, from what lies in the checkpoint folder."""
    for number, outcome in enumerate(("PASS", "FAIL", "INCOMPLETE")):
        made = spec(root=store, fingerprint=f"{number:016x}", called=f"step-{number}")
        records.publish(store, record(made, outcome, NOON + timedelta(hours=number)))
    overwritten = spec(root=store, fingerprint="e" * 16, called="step-0")
    folders = {entry.checkpoint_folder for entry in records.published(store, "small")}
    assert folders == {"step-0-00000000", "step-1-00000000", "step-2-00000000"}
    assert overwritten.checkpoint.folder not in folders


# --- what a run is compared with --------------------------------------------------------------------------------------


def validated(root: str, number: int, outcome: str, asked: str = "last-accepted", anchor: str | None = None) -> Spec:
    """A run planned, recorded and published as `plan` and `publish` do."""
    settings = {"gate__baseline": asked, "gate__anchor": anchor}
    made = spec(root=root, fingerprint=f"{number}" * 16, called=f"step-{number}", **settings)
    made = made.model_copy(update={"baseline": records.baseline_for(made, asked)})
    made = made.model_copy(update={"anchor": records.anchor_for(made, anchor)})
    storage.write(made.uri, made.model_dump_json().encode())
    records.publish(root, record(made, outcome, NOON + timedelta(minutes=number)))
    return made


def named(found: Baseline | None) -> str | None:
    return found.checkpoint.name if found else None


def test_the_previous_run_whatever_its_verdict_but_a_judged_one(store: str) -> None:
    made = spec(root=store)
    assert records.baseline_for(made, "previous") is None
    for number, outcome in enumerate(("PASS", "FAIL", "INCONCLUSIVE"), start=1):
        validated(store, number, outcome)
        assert named(records.baseline_for(made, "previous")) == f"step-{number}"
    validated(store, 4, "INCOMPLETE")
    assert named(records.baseline_for(made, "previous")) == "step-3"
    assert named(records.baseline_for(made, "last-accepted")) == "step-1"
    assert records.baseline_for(made, "none") is None


def test_a_run_asked_for_again_keeps_what_it_had(store: str) -> None:
    first = validated(store, 1, "PASS", "previous", "first")
    second = validated(store, 2, "PASS", "previous", "first")
    third = validated(store, 3, "PASS", "previous", "first")
    validated(store, 4, "PASS")
    assert (first.baseline, first.anchor) == (None, None)
    assert (named(second.baseline), second.anchor) == ("step-1", None)  # its baseline is the first: no anchor beside it
    assert (named(third.baseline), named(third.anchor)) == ("step-2", "step-1")
    for made in (first, second, third):
        asked_again = made.model_copy(update={"baseline": None, "anchor": None})
        assert records.baseline_for(asked_again, "previous") == made.baseline
        asked_again = asked_again.model_copy(update={"baseline": made.baseline})
        assert records.anchor_for(asked_again, "first") == made.anchor


def test_other_words_are_another_question(store: str) -> None:
    for number in (1, 2):
        validated(store, number, "PASS")
    third = validated(store, 3, "FAIL", "none")
    assert third.baseline is None
    assert named(records.baseline_for(third, "last-accepted")) == "step-2"
    assert records.baseline_for(third, "none") is None


def test_the_anchor_stays_while_the_baseline_moves(store: str) -> None:
    validated(store, 1, "FAIL")
    for number in (2, 3, 4):
        validated(store, number, "PASS")
    made = spec(root=store)
    made = made.model_copy(update={"baseline": records.baseline_for(made, "last-accepted")})
    assert (named(made.baseline), named(records.anchor_for(made, "first"))) == ("step-4", "step-2")
    assert records.anchor_for(made, None) is None
    assert named(records.anchor_for(made, "/models/step-1")) == "step-1"
    assert records.anchor_for(made, "/models/step-4") is None  # the baseline's own run


def test_no_checkpoint_is_its_own_anchor(store: str) -> None:
    first = validated(store, 1, "PASS")
    for asked in ("first", first.checkpoint.uri, first.run_uri):
        assert records.anchor_for(first, asked) is None


def test_a_named_anchor_that_was_never_validated(store: str) -> None:
    with pytest.raises(BadInput, match=r"^anchor /models/step-9: no record of it in suite small with these images"):
        records.anchor_for(spec(root=store), "/models/step-9")


def test_another_prompt_is_another_series(store: str) -> None:
    validated(store, 1, "PASS")
    asked_otherwise = spec(root=store, caption__prompt="another question")
    for asked in ("last-accepted", "previous"):
        assert records.baseline_for(asked_otherwise, asked) is None
    with pytest.raises(BadInput, match="no record of it"):
        records.baseline_for(asked_otherwise, "/models/step-1")
