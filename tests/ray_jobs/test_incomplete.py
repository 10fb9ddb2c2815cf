"""When a run is evaluated again; the stages that it is made of have tests of their own."""

from pathlib import Path

import pytest
from samples import make_record, make_spec
from stored_captions import NO_CLUSTER, LocalDataset, map_locally
from stored_runs import CaptionResult, Image, write_golden, write_run, write_scores

from ray_jobs import evaluate, publish
from ray_jobs.contract.artifacts import Outcome, Record, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.metrics import run
from ray_jobs.metrics.registry import build_metrics
from ray_jobs.metrics.text import corpus_counts
from ray_jobs.storage import index, objects

IMAGES = [Image(f"{number:03d}.png", ["a red square"], "square") for number in range(12)]


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """A run whose captions have their scores; its tasks in this process."""
    monkeypatch.setattr(corpus_counts, "_run_on_ray", map_locally)
    monkeypatch.setattr(run, "ray", NO_CLUSTER)
    monkeypatch.setattr(run, "ray_dataset", LocalDataset)
    made = make_spec(root=str(tmp_path))
    write_golden(made, IMAGES)
    values = dict.fromkeys(build_metrics(made), 1.0)
    written = [CaptionResult(f"a red square {number}", values) for number in range(len(IMAGES))]
    write_scores(made, write_run(made, made.caption_id, IMAGES, written), written)
    return made


def decided(made: Spec, outcome: Outcome) -> Record:
    """The run with a verdict of an earlier time, published."""
    verdict = make_record(made, outcome).verdict
    objects.write(f"{made.run_uri}/verdict.json", verdict.model_dump_json().encode())
    return publish.publish(made)


def outcome_of(made: Spec) -> str:
    return Verdict.model_validate_json(objects.read(f"{made.run_uri}/verdict.json")).outcome


def test_an_incomplete_run_is_evaluated_again_and_its_record_replaced(scored: Spec) -> None:
    assert decided(scored, "INCOMPLETE").verdict.outcome == "INCOMPLETE"
    evaluate.evaluate(scored)
    assert outcome_of(scored) == "PASS"
    assert publish.publish(scored).verdict.outcome == "PASS"
    assert [one.outcome for one in index.list_entries(scored.root, "small")] == ["PASS"]


@pytest.mark.parametrize("outcome", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_any_other_verdict_stands(scored: Spec, outcome: Outcome) -> None:
    first = decided(scored, outcome)
    evaluate.evaluate(scored)
    assert outcome_of(scored) == outcome
    assert publish.publish(scored) == first
