"""This version reads, compares and continues files that e0c6db2 wrote (its demo of six checkpoints)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from release_corpus import RUNS as FOLDERS
from release_corpus import plan_again, restore, rewrite_as_newer, sums_of

from ray_jobs import publish
from ray_jobs.comparison.comparable_metrics import find_comparable_metrics
from ray_jobs.comparison.compare_runs import compare_runs
from ray_jobs.comparison.published_run import load_run
from ray_jobs.contract.artifacts import Scores, Verdict
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.gate import run as gating
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import baselines, index, index_rebuild, json_files, manifests, records
from ray_jobs.storage.specs import load_spec

RUNS = list(FOLDERS.values())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The corpus as if that release had written it here. No id depends on the root."""
    return restore(tmp_path, monkeypatch)


def as_released(spec: Spec) -> Spec:
    """The spec as that release wrote it: without hashes of a checkpoint's files and of the source's content, and with
    the sizes of vLLM's steps that were the defaults before an engine chose them."""
    checkpoints = {"checkpoint": spec.checkpoint, "judge": spec.judge, "clip": spec.clip}
    known = {
        name: checkpoint and checkpoint.model_copy(update={"files": ()}) for name, checkpoint in checkpoints.items()
    }
    judge = spec.suite.judge
    judge = judge and judge.model_copy(update={"engine": with_former_sizes(judge.engine)})
    suite = spec.suite.model_copy(update={"engine": with_former_sizes(spec.suite.engine), "judge": judge})
    return spec.model_copy(update=known | {"content_id": None, "suite": suite})


def with_former_sizes(engine: Engine) -> Engine:
    sizes = {"max_num_seqs": 256, "max_num_batched_tokens": 16384, "gpu_memory_utilization": 0.9}
    return engine.model_copy(update={name: size for name, size in sizes.items() if getattr(engine, name) is None})


@pytest.mark.parametrize("name", FOLDERS)
def test_a_checkpoint_planned_again_is_the_run_that_was(name: str, root: Path) -> None:
    was = json_files.load(Spec, f"{root}/{FOLDERS[name]}/spec.json")
    spec = plan_again(root.parent, name)
    assert spec.uri == f"{root}/{FOLDERS[name]}/spec.json"
    assert (spec.golden_id, spec.caption_id, spec.series_id) == (was.golden_id, was.caption_id, was.series_id)
    assert (spec.scoring_id, spec.judge_id, spec.judge_uri) == (was.scoring_id, was.judge_id, was.judge_uri)
    assert (spec.baseline, spec.anchor) == (was.baseline, was.anchor)
    assert spec.baseline or name == "step-0200"
    assert spec.checkpoint.files
    assert as_released(spec) == was
    assert as_released(load_spec(spec.uri)) == was


def test_a_plan_writes_its_spec_and_nothing_else(root: Path) -> None:
    before = sums_of(root)
    specs = [plan_again(root.parent, name) for name in FOLDERS]
    after = sums_of(root)
    assert {key for key in after if before.get(key) != after[key]} == {f"{run}/spec.json" for run in RUNS}
    assert len(specs) == 6


@pytest.mark.parametrize("run", RUNS)
def test_each_run_is_where_its_ids_say_and_complete(run: str, root: Path) -> None:
    spec = json_files.load(Spec, f"{root}/{run}/spec.json")
    assert spec.uri == f"{root}/{run}/spec.json"
    golden, captions = manifests.load_manifest(spec.golden_uri), manifests.load_manifest(spec.captions_uri)
    assert golden
    assert captions, "it would be captioned again"
    assert manifests.load_manifest(spec.scores_uri)
    assert records.has_final_verdict(spec.run_uri)
    baseline_setting = spec.suite.gate.baseline
    assert baselines.find_baseline(spec, baseline_setting) == spec.baseline
    assert baselines.find_anchor(spec, spec.suite.gate.anchor) == spec.anchor


@pytest.mark.parametrize("run", RUNS)
def test_each_run_published_again_has_the_same_record(run: str, root: Path) -> None:
    before = records.read(f"{root}/{run}")
    assert publish.publish(json_files.load(Spec, f"{root}/{run}/spec.json")) == before


def test_the_next_checkpoint_finds_the_last_accepted_one(root: Path) -> None:
    spec = json_files.load(Spec, f"{root}/{RUNS[0]}/spec.json")
    following = Checkpoint(uri="/models/step-0900", name="step-0900", fingerprint="9" * 16)
    baseline = baselines.find_baseline(
        spec.model_copy(update={"checkpoint": following, "baseline": None}), "last-accepted"
    )
    assert baseline
    assert baseline.checkpoint.name == "step-0800-again"


def test_the_rebuilt_index_is_the_stored_index(root: Path) -> None:
    before = index.load(str(root), "demo").records
    assert len(before) == 6
    (root / "index" / "demo" / "index.json").unlink()
    assert index_rebuild.rebuild_index(str(root)) == (6, [])
    assert index.load(str(root), "demo").records == before


def test_two_runs_are_compared(root: Path) -> None:
    first, last = (load_run(f"{root}/{run}") for run in (RUNS[0], RUNS[-1]))
    metrics, _ = find_comparable_metrics(first, last)
    assert {"judge", "exact_match", "chrf"} <= set(metrics)
    assert compare_runs(first, last, metrics)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_gate_over_the_kept_scores_comes_to_the_verdict_that_was(name: str, root: Path) -> None:
    spec = plan_again(root.parent, name)
    scores = json_files.load(Scores, f"{spec.run_uri}/scores.json")
    was = json_files.load(Verdict, f"{spec.run_uri}/verdict.json")
    verdict = gating.run_gate(spec, scores)
    assert (verdict.outcome, verdict.reason) == (was.outcome, was.reason)
    assert verdict == was


# --- the same files, of a newer Assay ---------------------------------------------------------------------------------

READERS: dict[str, Callable[[Spec], Any]] = {
    "spec": lambda spec: load_spec(spec.uri),
    "record": lambda spec: records.read(spec.run_uri),
    "verdict": lambda spec: records.has_final_verdict(spec.run_uri),
    "golden set": lambda spec: manifests.load_manifest(spec.golden_uri),
    "captions": lambda spec: manifests.require_manifest(spec.captions_uri, "caption"),
    "scores": lambda spec: manifests.require_manifest(spec.scores_uri, "evaluate"),
    "compare": lambda spec: load_run(spec.run_uri),
    "publish": publish.publish,
    "gate": lambda spec: gating.run_gate(spec, json_files.load(Scores, f"{spec.run_uri}/scores.json")),
    "last accepted": lambda spec: baselines.find_baseline(next_of(spec), "last-accepted"),
    "previous": lambda spec: baselines.find_baseline(next_of(spec), "previous"),
    "first": lambda spec: baselines.find_anchor(next_of(spec), "first"),
    "the same again": lambda spec: baselines.find_baseline(spec, "last-accepted"),
    "plan": lambda spec: plan_again(Path(spec.root).parent, spec.checkpoint.name),
}


def next_of(spec: Spec) -> Spec:
    checkpoint = Checkpoint(uri="/models/step-0900", name="step-0900", fingerprint="9" * 16)
    return spec.model_copy(update={"checkpoint": checkpoint, "baseline": None})


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_a_newer_corpus_is_an_error_of_one_line_and_unchanged(reader: Callable[[Spec], Any], root: Path) -> None:
    specs = [json_files.load(Spec, f"{root}/{run}/spec.json") for run in RUNS]
    rewrite_as_newer(root)
    before = sums_of(root)
    for spec in specs:
        with pytest.raises(InputError, match="upgrade this plane") as error:
            reader(spec)
        assert str(error.value).isprintable()
        assert not any(word in str(error.value) for word in ("delete", " again", "rebuild"))
    assert sums_of(root) == before


def test_a_newer_corpus_is_rebuilt_around(root: Path) -> None:
    rewrite_as_newer(root)
    before = sums_of(root)
    count, left_out = index_rebuild.rebuild_index(str(root))
    assert (count, len(left_out)) == (0, 6)
    assert all(line.isprintable() and line.endswith("upgrade this plane") for line in left_out)
    assert sums_of(root) == before


@pytest.mark.parametrize("write", [index.refresh, index.load_complete, index.load])
def test_an_index_of_a_newer_corpus_is_left(
    write: Callable[[str, str], Any], root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite_as_newer(root)
    before = sums_of(root)
    assert write(str(root), "demo").records == {}
    assert all("\n" not in line for line in caplog.messages)
    assert any("made by a newer Assay" in line for line in caplog.messages)
    assert sums_of(root) == before
