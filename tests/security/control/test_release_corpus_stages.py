"""The corpus of e0c6db2, planned by this Airflow: nothing of it is captioned, evaluated or audited again."""

from pathlib import Path

import pytest
from assay_airflow import audit_selection
from assay_airflow.stages import STAGES, StageJob
from assay_airflow.triggers.golden_ready import describe_missing_golden
from release_corpus import RUNS, plan_again, restore, rewrite_as_newer, sums_of

from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import records
from ray_jobs.storage.specs import load_spec

AUDITED = "audit"  # that release's demo had no audits: the only stage that is not done


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return restore(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", RUNS)
def test_every_stage_of_a_run_planned_again_is_done(name: str, root: Path) -> None:
    spec = plan_again(root.parent, name)
    assert spec.uri == f"{root}/{RUNS[name]}/spec.json"
    assert load_spec(spec.uri) == spec
    is_done = {stage: StageJob.of(stage, spec).is_done() for stage in STAGES}
    assert is_done == {stage: stage != AUDITED for stage in STAGES}
    assert describe_missing_golden(spec.golden_uri) is None
    assert records.has_final_verdict(spec.run_uri)


def test_without_its_captions_a_run_would_be_captioned(root: Path) -> None:
    spec = plan_again(root.parent, "step-0809")
    Path(spec.captions_uri, "manifest.json").unlink()
    assert not StageJob.of("caption", spec).is_done()


def test_a_newer_corpus_is_refused_by_every_stage_and_unchanged(root: Path) -> None:
    specs = [plan_again(root.parent, name) for name in RUNS]
    rewrite_as_newer(root)
    before = sums_of(root)
    for spec in specs:
        for stage in set(STAGES) - {AUDITED}:
            with pytest.raises(NewerSchema, match="upgrade this plane") as caught:
                StageJob.of(stage, spec).is_done()
            assert str(caught.value).isprintable()
        with pytest.raises(NewerSchema, match="upgrade this plane"):
            describe_missing_golden(spec.golden_uri)
        with pytest.raises(NewerSchema, match="upgrade this plane"):
            load_spec(spec.uri)
    assert sums_of(root) == before


@pytest.mark.parametrize("name", RUNS)
def test_a_newer_corpus_is_not_planned_over(name: str, root: Path) -> None:
    rewrite_as_newer(root)
    before = sums_of(root)
    with pytest.raises(InputError, match="upgrade this plane") as caught:
        plan_again(root.parent, name)
    assert str(caught.value).isprintable()
    assert sums_of(root) == before


def test_an_audit_passes_a_newer_corpus_over(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite_as_newer(root)
    before = sums_of(root)
    for run in RUNS.values():
        assert audit_selection._load_readable_spec(f"{root}/{run}") is None
        [line] = capsys.readouterr().out.splitlines()
        assert line.startswith("passed over: spec ")
        assert line.endswith("upgrade this plane")
    with pytest.raises(InputError):
        audit_selection.select_for_checkpoint(str(root), f"{root.parent}/demo/checkpoints/step-0809", "demo")
    assert sums_of(root) == before
