from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from assay_airflow.stages import STAGES, StageJob, read_failure
from specs import make_record, make_spec, write_audit, write_failure

from ray_jobs.contract.spec import Spec
from ray_jobs.job.handshake import VARIABLE, say
from ray_jobs.storage import objects

NOW = datetime.now(UTC)


def first_job_ids(spec: Spec) -> dict[str, str]:
    return {stage: StageJob.of(stage, spec).submission_id(0) for stage in STAGES}


def test_two_checkpoints_share_the_golden_set_job_and_no_other(tmp_path: Path) -> None:
    first_ids, other_ids = (
        first_job_ids(make_spec(tmp_path, fingerprint="a" * 16)),
        first_job_ids(make_spec(tmp_path, fingerprint="b" * 16)),
    )
    assert {stage: first_ids[stage] == other_ids[stage] for stage in STAGES} == {
        "preprocess": True,
        "caption": False,
        "evaluate": False,
        "audit": False,
    }


def test_force_changes_the_jobs_of_captions_and_scores_only(tmp_path: Path) -> None:
    plain, forced = make_spec(tmp_path), make_spec(tmp_path, force="manual__1")
    assert {stage: first_job_ids(plain)[stage] == first_job_ids(forced)[stage] for stage in STAGES} == {
        "preprocess": True,
        "caption": False,
        "evaluate": False,
        "audit": True,  # an audit is of the captions, which both specs share
    }
    assert StageJob.of("preprocess", forced).force is None
    assert StageJob.of("caption", forced).force == "manual__1"


def test_the_same_content_below_another_root_is_another_job(tmp_path: Path) -> None:
    assert not set(first_job_ids(make_spec(tmp_path / "a")).values()) & set(
        first_job_ids(make_spec(tmp_path / "b")).values()
    )


def test_the_id_says_stage_content_and_generation(spec: Spec) -> None:
    first, second = (StageJob.of("caption", spec).submission_id(generation) for generation in (0, 1))
    assert first.startswith(f"assay-caption-{spec.caption_id}-")
    assert first.removesuffix("-g0") == second.removesuffix("-g1")


def test_the_payload_is_the_command_that_a_person_would_type(spec: Spec) -> None:
    job = StageJob.of("evaluate", spec)
    assert job.payload(2, {"airflow_run": "r"}) == {
        "submission_id": job.submission_id(2),
        "entrypoint": f"{VARIABLE}={say()} python -u -m ray_jobs.evaluate --spec {spec.uri}",
        "metadata": {"assay_spec": spec.uri, "airflow_run": "r"},
    }


@pytest.mark.parametrize(
    ("outcome", "is_final"), [("PASS", True), ("FAIL", True), ("INCONCLUSIVE", True), ("INCOMPLETE", False)]
)
def test_an_incomplete_verdict_is_a_result_but_not_final(spec: Spec, outcome: str, is_final: bool) -> None:
    job = StageJob.of("evaluate", spec)
    assert (job.has_result(), job.is_done()) == (False, False)
    objects.write(job.marker, make_record(spec, outcome).verdict.model_dump_json().encode())
    assert (job.has_result(), job.is_done()) == (True, is_final)


def test_a_uri_with_shell_characters_is_quoted(tmp_path: Path) -> None:
    spec = make_spec(tmp_path / "my root; rm")
    assert f"--spec '{spec.uri}'" in StageJob.of("caption", spec).payload(0, {})["entrypoint"]


@pytest.mark.parametrize(
    ("stage", "marker"),
    [
        ("preprocess", "{spec.golden_uri}/manifest.json"),
        ("caption", "{spec.captions_uri}/manifest.json"),
        ("evaluate", "{spec.run_uri}/verdict.json"),
    ],
)
def test_a_stage_is_done_when_its_marker_exists(spec: Spec, stage: str, marker: str) -> None:
    job = StageJob.of(stage, spec)
    assert job.marker == marker.format(spec=spec)
    assert not job.is_done()
    objects.write(job.marker, make_record(spec).verdict.model_dump_json().encode())
    assert job.is_done()


@pytest.mark.parametrize(
    ("counts", "is_final"),
    [({"equal": 3}, True), ({"equal": 2, "ties": 1}, True), ({"equal": 2, "differing": 1}, False)],
)
def test_an_audit_with_differences_is_not_final(spec: Spec, counts: dict[str, int], is_final: bool) -> None:
    job = StageJob.of("audit", spec)
    assert job.marker == f"{spec.captions_uri}/audit.json"
    assert (job.has_result(), job.is_done()) == (False, False)
    write_audit(spec, **counts)
    assert (job.has_result(), job.is_done()) == (True, is_final)


def test_an_unknown_stage_is_a_mistake_in_the_dag(spec: Spec) -> None:
    with pytest.raises(ValueError, match="stage 'publish': not one of preprocess, caption, evaluate, audit"):
        StageJob.of("publish", spec)


def make_job_info(spec: Spec, started: datetime = NOW, **details: Any) -> dict[str, Any]:
    return {"metadata": {"assay_spec": spec.uri}, "start_time": int(started.timestamp() * 1000)} | details


def test_a_failure_is_read_from_the_run_that_submitted_the_job(tmp_path: Path) -> None:
    submitter = make_spec(tmp_path, fingerprint="b" * 16)
    write_failure(submitter, "preprocess", "bad-input", "no image column")
    failure = read_failure("preprocess", make_job_info(submitter))
    assert failure is not None
    assert failure.message == "no image column"


def test_a_failure_of_an_earlier_job_or_another_stage_is_ignored(spec: Spec) -> None:
    write_failure(spec, "caption", "trouble", "old", failed_at=NOW - timedelta(minutes=1))
    assert read_failure("caption", make_job_info(spec)) is None
    write_failure(spec, "caption", "trouble", "new", failed_at=NOW + timedelta(seconds=1))
    assert read_failure("caption", make_job_info(spec)) is not None
    assert read_failure("evaluate", make_job_info(spec)) is None


def test_a_killed_job_and_a_job_without_a_spec_have_no_failure(spec: Spec) -> None:
    assert read_failure("caption", make_job_info(spec)) is None
    assert read_failure("caption", make_job_info(spec, metadata={})) is None
    assert read_failure("caption", make_job_info(spec, metadata=None)) is None


def test_an_unreadable_failure_is_none(spec: Spec) -> None:
    objects.write(f"{spec.run_uri}/failure.json", b"{not json")
    assert read_failure("caption", make_job_info(spec)) is None
