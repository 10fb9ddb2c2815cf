"""Files that e0c6db2 wrote (its demo of six checkpoints) are read, compared and continued by this version."""

import shutil
from pathlib import Path

import pytest

from ray_jobs import compare, index, parts, publish, records, stored
from ray_jobs.contract import Checkpoint, Spec

CORPUS = Path(__file__).parents[1] / "corpus" / "e0c6db2"
WAS = "/srv/assay/root"
RUNS = sorted(path.parent.relative_to(CORPUS).as_posix() for path in CORPUS.glob("runs/*/*/spec.json"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The corpus as if that release had written it here: no id holds the root."""
    target = tmp_path / "root"
    shutil.copytree(CORPUS, target)
    for file in target.rglob("*.json"):
        file.write_text(file.read_text().replace(f'"{WAS}', f'"{target}'))
    return target


@pytest.mark.parametrize("run", RUNS)
def test_each_run_is_where_its_ids_say_and_complete(run: str, root: Path) -> None:
    spec = stored.load(Spec, f"{root}/{run}/spec.json")
    assert spec.uri == f"{root}/{run}/spec.json"
    golden, captions = parts.manifest(spec.golden_uri), parts.manifest(spec.captions_uri)
    assert golden
    assert captions, "it would be captioned again"
    assert parts.manifest(spec.scores_uri)
    assert records.decided(spec.run_uri)
    asked = spec.suite.gate.baseline
    assert records.baseline_for(spec, asked) == spec.baseline
    assert records.anchor_for(spec, spec.suite.gate.anchor) == spec.anchor


@pytest.mark.parametrize("run", RUNS)
def test_each_run_published_again_has_the_same_record(run: str, root: Path) -> None:
    before = records.read(f"{root}/{run}")
    assert publish.publish(stored.load(Spec, f"{root}/{run}/spec.json")) == before


def test_the_next_checkpoint_finds_the_last_accepted_one(root: Path) -> None:
    spec = stored.load(Spec, f"{root}/{RUNS[0]}/spec.json")
    following = Checkpoint(uri="/models/step-0900", name="step-0900", fingerprint="9" * 16)
    found = records.baseline_for(spec.model_copy(update={"checkpoint": following, "baseline": None}), "last-accepted")
    assert found
    assert found.checkpoint.name == "step-0800-again"


def test_the_index_made_anew_is_the_index_that_was(root: Path) -> None:
    before = index.load(str(root), "demo").records
    assert len(before) == 6
    (root / "index" / "demo" / "index.json").unlink()
    assert records.rebuild(str(root)) == (6, [])
    assert index.load(str(root), "demo").records == before


def test_two_runs_are_compared(root: Path) -> None:
    one, two = (compare.load(f"{root}/{run}") for run in (RUNS[0], RUNS[-1]))
    metrics, _ = compare.comparable(one, two)
    assert {"judge", "exact_match", "chrf"} <= set(metrics)
    assert compare.compare(one, two, metrics)
