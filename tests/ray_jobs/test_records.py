import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from making import record, spec

from ray_jobs import records, storage

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
        made.scale_id,
        "20260101T120000.000000Z",
        "step-3-best-ffffffff",
        made.run_id,
        "INCONCLUSIVE",
    )
    assert entry.run_uri(store) == made.run_uri
    assert records.published(store, "another") == []


def test_entries_come_oldest_first_over_all_scales(store: str) -> None:
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
    assert len(before) == 3
    lost, kept = sorted(before)[0], sorted(before)[1]
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


def test_the_view_of_the_router(store: str) -> None:
    """It subtracts what has a record, whatever the verdict, from what lies in the checkpoint folder."""
    for number, outcome in enumerate(("PASS", "FAIL", "INCOMPLETE")):
        made = spec(root=store, fingerprint=f"{number:016x}", called=f"step-{number}")
        records.publish(store, record(made, outcome, NOON + timedelta(hours=number)))
    overwritten = spec(root=store, fingerprint="e" * 16, called="step-0")
    folders = {entry.checkpoint_folder for entry in records.published(store, "small")}
    assert folders == {"step-0-00000000", "step-1-00000000", "step-2-00000000"}
    assert overwritten.checkpoint.folder not in folders
