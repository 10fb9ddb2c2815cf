"""An odd manifest, spec or index entry of one run does not stop the audits of the others."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from assay_airflow import audit_selection
from odd_folders import write
from router_passes import NOW, write_run_spec

from ray_jobs.contract.artifacts import Manifest, Record, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import index, objects, records


def publish_run(watched_folder: Path, name: str, swapped: bool = True) -> Spec:
    """Publish a run of a checkpoint whose captions are from a warm engine."""
    write(watched_folder / name, {"config.json": json.dumps({"architectures": ["Tiny"], "name": name}).encode()})
    spec = write_run_spec(watched_folder, name)
    sums: dict[str, Any] = {"rows_in": 3, "rows_out": 3, "parts": (), "created_at": NOW}
    manifest = Manifest(stage="captions", id=spec.caption_id, details={"engine": {"swapped": swapped}}, **sums)
    objects.write(f"{spec.captions_uri}/manifest.json", manifest.model_dump_json().encode())
    ids = {
        key: getattr(spec, key) for key in ("run_id", "run_uri", "scoring_id", "series_id", "golden_id", "caption_id")
    }
    empty: dict[str, Any] = {"metrics": {}, "images": {}, "seconds": {}, "versions": {}}
    verdict = Verdict(outcome="PASS", reason="as told", baseline=None, alpha=0.0027)
    records.publish(
        spec.root,
        Record(
            **ids, **empty, suite="small", checkpoint=spec.checkpoint, verdict=verdict, published_at=datetime.now(UTC)
        ),
    )
    return spec


ENGINES = ["[]", "null", "7", '"swapped"', "[[]]", "{}", '{"swapped": []}']


MANIFESTS = {
    "no JSON": b"{",
    "nested": b"[" * 100_000,
    "binary": b"\xff\xfe\x00",
    "empty": b"",
    "an array": b"[]",
    "sums that do not add up": b'{"stage": "captions", "id": "c", "rows_in": 3, "rows_out": 1, "parts": [], '
    b'"created_at": "2026-11-30T12:00:00Z"}',
} | {
    f"an engine that is {engine}": b'{"stage": "captions", "id": "c", "rows_in": 3, "rows_out": 3, "parts": [], '
    b'"created_at": "2026-11-30T12:00:00Z", "details": {"engine": %s}}' % engine.encode()
    for engine in ENGINES
}


@pytest.mark.parametrize("content", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_an_odd_manifest_of_captions_stops_no_audit(content: bytes, watched_folder: Path) -> None:
    older, newer = publish_run(watched_folder, "a"), publish_run(watched_folder, "b")
    objects.write(f"{newer.captions_uri}/manifest.json", content)
    due = audit_selection.select_due(older.root, None, datetime.now(UTC))
    assert due in ([older.uri], [newer.uri])
    assert len(due) == 1


SPECS = {
    "no JSON": b"{",
    "nested": b"[" * 100_000,
    "binary": b"\xff\xfe\x00",
    "empty": b"",
    "null": b"null",
    "of a newer Assay": b'{"schema": 99}',
}


@pytest.mark.parametrize("content", SPECS.values(), ids=SPECS.keys())
def test_an_odd_spec_stops_no_audit(content: bytes, watched_folder: Path) -> None:
    older, newer = publish_run(watched_folder, "a"), publish_run(watched_folder, "b")
    objects.write(newer.uri, content)
    assert audit_selection.select_due(older.root, None, datetime.now(UTC)) == [older.uri]
    assert audit_selection.select_for_checkpoint(older.root, older.checkpoint.uri, None) == [older.uri]
    with pytest.raises(InputError):
        audit_selection.select_for_checkpoint(older.root, newer.checkpoint.uri, None)


@pytest.mark.parametrize("replaced", ["a manifest", "a spec", "an audit"])
def test_a_folder_where_a_file_belongs_stops_no_audit(replaced: str, watched_folder: Path) -> None:
    older, newer = publish_run(watched_folder, "a"), publish_run(watched_folder, "b")
    captions = Path(newer.captions_uri)
    file = {"a manifest": captions / "manifest.json", "a spec": Path(newer.uri), "an audit": captions / "audit.json"}[
        replaced
    ]
    file.unlink(missing_ok=True)
    file.mkdir()
    assert audit_selection.select_due(older.root, None, datetime.now(UTC)) == [older.uri]


@pytest.mark.parametrize("name", ["small\n", "..x", "a b", "é", "index.json", "x" * 200])
def test_an_odd_suite_in_the_index_stops_no_audit(name: str, watched_folder: Path) -> None:
    spec = publish_run(watched_folder, "a")
    folder = Path(spec.root, "index", name)
    folder.mkdir()
    (folder / "index.json").mkdir()
    (folder / "series" / "x--y--z--PASS.json").mkdir(parents=True)
    assert audit_selection.select_due(spec.root, None, datetime.now(UTC)) == [spec.uri]
    assert audit_selection.select_for_checkpoint(spec.root, spec.checkpoint.uri, None) == [spec.uri]


def test_an_index_line_that_is_odd_hides_no_run_from_a_person(watched_folder: Path) -> None:
    spec = publish_run(watched_folder, "a")
    file = Path(spec.root, "index", "small", "index.json")
    content = json.loads(file.read_text())
    content["records"]["series/odd.json"] = {"run_id": 7}
    file.write_text(json.dumps(content))
    assert audit_selection.select_for_checkpoint(spec.root, spec.checkpoint.uri, None) == [spec.uri]
    assert list(index.load(spec.root, "small").records) == [
        entry.key for entry in index.list_entries(spec.root, "small")
    ]
