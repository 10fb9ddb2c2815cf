"""Files of a newer Assay: one line asks for an upgrade, and they are never deleted, replaced or skipped."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ray_jobs import evaluate, publish
from ray_jobs.comparison.published_run import load_run
from ray_jobs.contract.artifacts import Failure, Manifest, Record, Scores, Verdict
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.contract.suite import Suite
from ray_jobs.golden.part_plan import GoldenPlan, _load_plan
from ray_jobs.inputs.errors import InputError
from ray_jobs.judge import answer_store, run
from ray_jobs.report.write_report import load_judge_totals
from ray_jobs.storage import (
    audits,
    baselines,
    index,
    index_rebuild,
    json_files,
    manifests,
    object_listing,
    objects,
    parts,
    records,
)
from ray_jobs.storage.record_summary import summarise_record

NOW = datetime(2026, 11, 30, tzinfo=UTC)
SCHEMAS = [2, 99, 2**63, "1.1", "99", 1.5, None, True, -1, [1], {"major": 2}, "x" * 10_000]


def spec_in(root: Path, force: str | None = None) -> Spec:
    suite = Suite.model_validate({"name": "small", "dataset": {"source": "/data/images"}})
    checkpoint = Checkpoint(uri="/models/step-1", name="step-1", fingerprint="f" * 16)
    return Spec(root=str(root), suite=suite, checkpoint=checkpoint, source_revision="r1", force=force)


def sample(spec: Spec) -> dict[str, Any]:
    """One instance of every model that has its own file."""
    sums: dict[str, Any] = {"rows_in": 1, "rows_out": 1, "parts": (), "created_at": NOW}
    manifest = Manifest(stage="golden", id="g", **sums)
    verdict = Verdict(outcome="PASS", reason="as told", baseline=None, alpha=0.0027)
    record = Record(
        run_id=spec.run_id, run_uri=spec.run_uri, scoring_id=spec.scoring_id, series_id=spec.series_id,
        golden_id=spec.golden_id, caption_id=spec.caption_id, suite="small", checkpoint=spec.checkpoint,
        verdict=verdict, metrics={}, images={}, seconds={}, versions={}, published_at=NOW,
    )  # fmt: skip
    scores = Scores(
        run_id=spec.run_id, scoring_id=spec.scoring_id, images=1, scored=1, failed={}, metrics={}, manifest=manifest
    )
    return {
        "spec": spec,
        "manifest": manifest,
        "scores": scores,
        "verdict": verdict,
        "record": record,
        "failure": Failure(stage="caption", kind="trouble", message="m", at=NOW),
        "audit": audits.Audit(caption_id="c", checkpoint=spec.checkpoint, created_at=NOW),
        "plan": GoldenPlan(versions={}, listed=1, parts=()),
        "index": index.Index(suite="small"),
    }


def newer(content: Any, schema: Any = 99) -> bytes:
    """The content as a next major version may write it: another schema, further keys, and some missing."""
    raw = json.loads(content.model_dump_json()) | {"schema": schema, "added": {"deep": [1, {"x": None}]}}
    for key in ("reason", "rows_in", "kind", "scale_id", "suite", "checkpoint", "images"):
        raw.pop(key, None)
    return json.dumps(raw).encode()


def lay(root: Path, schema: Any = 99) -> tuple[Spec, dict[str, bytes]]:
    """Write a run of a newer Assay. Returns its spec and all its files by URI."""
    spec = spec_in(root)
    written_files = sample(spec)
    files = {
        f"{spec.golden_uri}/manifest.json": written_files["manifest"],
        f"{spec.golden_uri}/plan/plan.json": written_files["plan"],
        f"{spec.captions_uri}/manifest.json": written_files["manifest"],
        f"{spec.captions_uri}/audit.json": written_files["audit"],
        f"{spec.scores_uri}/manifest.json": written_files["manifest"],
        f"{spec.run_uri}/preference/manifest.json": written_files["manifest"],
        f"{spec.run_uri}/scores.json": written_files["scores"],
        f"{spec.run_uri}/judge.json": written_files["verdict"],
        f"{spec.run_uri}/verdict.json": written_files["verdict"],
        f"{spec.run_uri}/record.json": written_files["record"],
        f"{spec.run_uri}/failure.json": written_files["failure"],
        spec.uri: written_files["spec"],
        index.entry_uri(str(root), written_files["record"]): written_files["record"],
        f"{root}/index/small/index.json": written_files["index"],
    }
    contents = {uri: newer(content, schema) for uri, content in files.items()}
    for uri, content in contents.items():
        objects.write(uri, content)
    return spec, contents


def forget_all(spec: Spec) -> None:
    manifests.clear_stage(spec.run_uri, "again", keep=("spec", "record.json"))


READERS: dict[str, Callable[[Spec], Any]] = {
    "golden manifest": lambda spec: manifests.load_manifest(spec.golden_uri),
    "captions manifest": lambda spec: manifests.require_manifest(spec.captions_uri, "caption"),
    "preference manifest": lambda spec: manifests.load_manifest(f"{spec.run_uri}/preference"),
    "golden plan": lambda spec: _load_plan(spec.golden_uri),
    "audit": lambda spec: audits.read(spec.captions_uri),
    "audit passed": lambda spec: audits.has_passed(spec.captions_uri),
    "verdict decided": lambda spec: records.has_final_verdict(spec.run_uri),
    "verdict reopened": run.start_new_attempt,
    "record": lambda spec: records.read(spec.run_uri),
    "judge totals": lambda spec: load_judge_totals(spec.run_uri),
    "compare": lambda spec: load_run(spec.run_uri),
    "publish": publish.publish,
    "publish a record": lambda spec: records.publish(spec.root, sample(spec)["record"]),
    "publish by force": lambda spec: records.publish(spec.root, sample(spec)["record"], replace=True),
    "enter": lambda spec: index.add(spec.root, [sample(spec)["record"]]),
    "commit a manifest": lambda spec: manifests.commit(spec.golden_uri, sample(spec)["manifest"]),
    "commit an audit": lambda spec: audits.commit(spec.captions_uri, sample(spec)["audit"]),
    "forget captions": lambda spec: manifests.clear_stage(spec.captions_uri, "again"),
    "forget scores": lambda spec: manifests.clear_stage(spec.scores_uri, "again"),
    "forget a run": forget_all,
    "forced evaluation": lambda spec: evaluate.evaluate(spec.model_copy(update={"force": "again"})),
    "replace a verdict": lambda spec: json_files.replace(f"{spec.run_uri}/verdict.json", sample(spec)["verdict"]),
    "replace scores": lambda spec: json_files.replace(f"{spec.run_uri}/scores.json", sample(spec)["scores"]),
    "replace a failure": lambda spec: json_files.replace(f"{spec.run_uri}/failure.json", sample(spec)["failure"]),
    "remove a failure": lambda spec: json_files.remove(f"{spec.run_uri}/failure.json"),
    "next baseline": lambda spec: baselines.find_baseline(another(spec), "last-accepted"),
    "next anchor": lambda spec: baselines.find_anchor(another(spec), "first"),
    "baseline by its run": lambda spec: baselines.find_baseline(another(spec), spec.run_uri),
    "same run again": lambda spec: baselines.find_baseline(spec, "last-accepted"),
}


def another(spec: Spec) -> Spec:
    checkpoint = Checkpoint(uri="/models/step-2", name="step-2", fingerprint="0" * 16)
    return spec.model_copy(update={"checkpoint": checkpoint})


def assert_untouched(contents: dict[str, bytes]) -> None:
    for uri, content in contents.items():
        assert objects.read(uri) == content, uri


@pytest.mark.parametrize("reader", READERS)
def test_a_newer_file_is_an_error_of_one_line_and_unchanged(reader: str, tmp_path: Path) -> None:
    spec, contents = lay(tmp_path)
    with pytest.raises(InputError) as error:
        READERS[reader](spec)
    line = str(error.value)
    assert "\n" not in line
    assert "upgrade this plane" in line or reader == "baseline by its run"
    assert not any(word in line for word in ("delete", "rerun", "again", "rebuild", "force"))
    assert_untouched(contents)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: repr(schema)[:12])
@pytest.mark.parametrize("kind", sample(spec_in(Path("/root"))))
def test_every_model_refuses_every_schema_that_it_does_not_know(kind: str, schema: Any, tmp_path: Path) -> None:
    content = sample(spec_in(tmp_path))[kind]
    uri = f"{tmp_path}/{kind}.json"
    objects.write(uri, newer(content, schema))
    with pytest.raises(NewerSchema) as error:
        json_files.load(type(content), uri)
    assert str(error.value).startswith(f"{uri}: made by a newer Assay (schema ")
    assert str(error.value).endswith("upgrade this plane")
    assert len(str(error.value)) < len(uri) + 120
    with pytest.raises(NewerSchema):
        json_files.replace(uri, content)
    assert objects.read(uri) == newer(content, schema)


@pytest.mark.parametrize("kind", sample(spec_in(Path("/root"))))
def test_every_file_carries_its_schema_and_one_without_is_read(kind: str) -> None:
    content = sample(spec_in(Path("/root")))[kind]
    raw = json.loads(content.model_dump_json())
    assert raw.pop("schema") == 1
    assert json_files.parse(type(content), json.dumps(raw).encode(), "x") == content


@pytest.mark.parametrize("kind", sample(spec_in(Path("/root"))))
def test_unknown_keys_of_a_minor_version_are_kept_at_every_level(kind: str) -> None:
    content = sample(spec_in(Path("/root")))[kind]

    def with_more(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: with_more(item) for key, item in value.items()} | (
                {"added": [1, {"x": 2}]} if "schema" in value else {}
            )
        return value

    raw = with_more(json.loads(content.model_dump_json()))
    again = json_files.parse(type(content), json.dumps(raw).encode(), "x")
    assert json.loads(again.model_dump_json()) == raw


def test_a_new_setting_at_its_default_in_a_spec_is_no_obstacle(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    raw = json.loads(spec.model_dump_json())
    for section in ("dataset", "preprocess", "caption", "engine", "judge", "gate", "metrics"):
        raw["suite"][section]["added"] = None
    raw["checkpoint"]["added"] = raw["suite"]["added"] = 1
    parsed = json_files.parse(Spec, json.dumps(raw).encode(), "x")
    assert (parsed.run_id, parsed.caption_id, parsed.golden_id) == (spec.run_id, spec.caption_id, spec.golden_id)


def test_rebuild_leaves_a_newer_record_its_entry_and_its_index(tmp_path: Path) -> None:
    _, contents = lay(tmp_path)
    count, left_out = index_rebuild.rebuild_index(str(tmp_path))
    assert count == 0
    assert len(left_out) == 1
    assert left_out[0].endswith("upgrade this plane")
    assert_untouched(contents)


def test_a_run_is_published_beside_those_of_a_newer_assay(tmp_path: Path) -> None:
    spec, contents = lay(tmp_path)
    record = sample(another(spec))["record"]
    assert records.publish(str(tmp_path), record) == record
    assert_untouched(contents)
    assert [line.run_id for line in index.load_complete(str(tmp_path), "small").records.values()] == [record.run_id]


def test_lines_and_keys_of_a_newer_assay_stay_in_an_index_that_is_rewritten(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    record = sample(spec)["record"]
    objects.write(index.entry_uri(str(tmp_path), record), newer(record))
    key, old = index.key_of(record), sample(another(spec))["record"]
    plain = json.loads(summarise_record(old).model_dump_json()) | {"added": 1}
    line = {"schema": 99, "added": [1]}
    content = {"schema": 1, "suite": "small", "extra": 1, "records": {key: line, index.key_of(old): plain}}
    objects.write(f"{tmp_path}/index/small/index.json", json.dumps(content).encode())
    index.add(str(tmp_path), [old])
    third = spec.model_copy(
        update={"checkpoint": Checkpoint(uri="/models/step-3", name="step-3", fingerprint="3" * 16)}
    )
    records.publish(str(tmp_path), sample(third)["record"])
    after = json.loads(objects.read(f"{tmp_path}/index/small/index.json"))
    assert after["extra"] == 1
    assert after["records"][key] == line
    assert after["records"][index.key_of(old)] == plain
    assert len(after["records"]) == 3


ROWS = pa.table({"image_id": ["a"]})


def newer_part() -> bytes:
    return parts.encode(ROWS, {"schema": 99, "lost": {}})


@pytest.mark.parametrize("reader_name", ["read", "columns", "describe", "footer", "footer_at", "table", "write"])
def test_a_newer_part_is_reported(reader_name: str, tmp_path: Path) -> None:
    uri = manifests.uri_of_part(str(tmp_path), "part-00000")
    objects.write(uri, newer_part())
    calls: dict[str, Callable[[], Any]] = {
        "read": lambda: parts.read(str(tmp_path), "part-00000"),
        "columns": lambda: parts.read_columns(str(tmp_path), "part-00000", ["image_id"]),
        "describe": lambda: parts.describe("part-00000", newer_part()),
        "footer": lambda: parts.decode_footer(newer_part()),
        "footer_at": lambda: parts.read_footer(uri),
        "table": lambda: parts.decode(newer_part(), uri=uri),
        "write": lambda: parts.write(str(tmp_path), "part-00000", ROWS, {"lost": {}}),
    }
    with pytest.raises(NewerSchema, match="upgrade this plane"):
        calls[reader_name]()
    assert objects.read(uri) == newer_part()


def test_answers_of_a_newer_assay_are_neither_taken_nor_merged_away(tmp_path: Path) -> None:
    uri = str(tmp_path)
    for key in ("a", "b"):
        answer_store.save_answers(uri, "part-00000", [answer_store.Answer(key, "t", None, None, 1, 1, "run", 0.0)])
    objects.write(f"{uri}/part-00000/newer.parquet", newer_part())
    before = {entry.key for entry in object_listing.iterate_entries(uri)}
    for call in (
        lambda: answer_store.load_answers(uri, "part-00000", {"a"}),
        lambda: answer_store.merge_small_files(uri, "part-00000"),
    ):
        with pytest.raises(NewerSchema, match=r"newer\.parquet: made by a newer Assay"):
            call()
    assert {entry.key for entry in object_listing.iterate_entries(uri)} == before
