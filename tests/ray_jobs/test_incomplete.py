"""When a run is evaluated again. The stages have tests of their own."""

from pathlib import Path

import pytest
from samples import make_record, make_spec
from stored_runs import CaptionResult, Image, write_golden, write_run, write_scores

from ray_jobs import evaluate, publish
from ray_jobs.contract.artifacts import Outcome, Record, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.metrics.registry import build_metrics
from ray_jobs.storage import index, objects

IMAGES = [Image(f"{number:03d}.png", ["a red square"], "square") for number in range(12)]


@pytest.fixture
def scored_spec(tmp_path: Path) -> Spec:
    """A run whose captions have their scores."""
    spec = make_spec(root=str(tmp_path))
    write_golden(spec, IMAGES)
    values = dict.fromkeys(build_metrics(spec), 1.0)
    results = [CaptionResult(f"a red square {number}", values) for number in range(len(IMAGES))]
    write_scores(spec, write_run(spec, spec.caption_id, IMAGES, results), results)
    return spec


def publish_verdict(spec: Spec, outcome: Outcome) -> Record:
    """Publish the run with a verdict of an earlier time. Returns the record."""
    verdict = make_record(spec, outcome).verdict
    objects.write(f"{spec.run_uri}/verdict.json", verdict.model_dump_json().encode())
    return publish.publish(spec)


def outcome_of(spec: Spec) -> str:
    return Verdict.model_validate_json(objects.read(f"{spec.run_uri}/verdict.json")).outcome


def test_an_incomplete_run_is_evaluated_again_and_its_record_replaced(scored_spec: Spec) -> None:
    assert publish_verdict(scored_spec, "INCOMPLETE").verdict.outcome == "INCOMPLETE"
    evaluate.evaluate(scored_spec)
    assert outcome_of(scored_spec) == "PASS"
    assert publish.publish(scored_spec).verdict.outcome == "PASS"
    assert [entry.outcome for entry in index.list_entries(scored_spec.root, "small")] == ["PASS"]


@pytest.mark.parametrize("outcome", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_any_other_verdict_stands(scored_spec: Spec, outcome: Outcome) -> None:
    first = publish_verdict(scored_spec, outcome)
    evaluate.evaluate(scored_spec)
    assert outcome_of(scored_spec) == outcome
    assert publish.publish(scored_spec) == first
