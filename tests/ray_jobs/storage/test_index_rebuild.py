"""The index that a rebuild makes from the records."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from index_files import read_index_files
from noted_reads import note_reads
from samples import make_record, make_spec

from ray_jobs.storage import index, index_rebuild, objects, records

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_rebuilding_gives_the_index_that_publishing_gave(store: str) -> None:
    for number in range(3):
        spec = make_spec(root=store, fingerprint=f"{number:016x}", name=f"suite-{number % 2}")
        records.publish(store, make_record(spec, "PASS", NOON + timedelta(days=number)))
    before = read_index_files(store)
    assert len(before) == 3 + 2  # the entries, and a file of all of them for each suite
    absent, present = sorted(key for key in before if "--" in key)[:2]
    objects.write(f"{store}/index/suite-1/index.json", b"overwritten")
    objects.delete(f"{store}/index/{absent}")
    objects.write(f"{store}/index/{present}", b"overwritten")
    objects.write(f"{store}/index/suite-0/scale/20200101T000000.000000Z--gone-00000000--0123--PASS.json", b"{}")
    assert index_rebuild.rebuild_index(store) == (3, [])
    assert read_index_files(store) == before


def test_the_command_rebuilds(tmp_path: Path) -> None:
    records.publish(str(tmp_path), make_record(make_spec(root=str(tmp_path))))
    before = read_index_files(str(tmp_path))
    for key in before:
        objects.delete(f"{tmp_path}/index/{key}")
    command = [sys.executable, "-m", "ray_jobs.records", "rebuild", str(tmp_path)]
    root = Path(__file__).parents[3]
    process = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert process.stdout == "1 records indexed\n"
    assert read_index_files(str(tmp_path)) == before


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
    assert [entry.run_id for entry in index.list_entries(root, "small")] == [good.run_id]
    assert records.publish(root, make_record(broken)).run_id == broken.run_id  # the remedy that the line names
    assert len(index.list_entries(root, "small")) == 2


def refuse_write(uri: str, _: bytes) -> bool:
    raise AssertionError(f"{uri} was written")


def test_rebuilding_a_whole_index_writes_no_entry(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        records.publish(store, make_record(make_spec(root=store, fingerprint=f"{number:016x}"), published_at=NOON))
    before = read_index_files(store)
    with monkeypatch.context() as patch:
        patch.setattr(objects, "create", refuse_write)
        patch.setattr(objects, "write", refuse_write)
        assert index_rebuild.rebuild_index(store) == (3, [])
    assert read_index_files(store) == before


def test_on_s3_rebuilding_a_whole_index_reads_no_entry(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listing has the MD5 of each entry."""
    for number in range(3):
        records.publish(s3, make_record(make_spec(root=s3, fingerprint=f"{number:016x}"), published_at=NOON))
    reads = note_reads(monkeypatch, "read")
    assert index_rebuild.rebuild_index(s3) == (3, [])
    assert len([uri for uri, _ in reads if uri.endswith("/record.json")]) == 3
    assert [uri for uri, _ in reads if "--" in uri] == []


def test_rebuilding_repairs_an_entry_of_the_right_size(tmp_path: Path) -> None:
    root = str(tmp_path)
    record = records.publish(root, make_record(make_spec(root=root)))
    file = Path(index.entry_uri(root, record))
    content = file.read_bytes()
    file.write_bytes(b" " * len(content))
    assert index_rebuild.rebuild_index(root) == (1, [])
    assert file.read_bytes() == content
