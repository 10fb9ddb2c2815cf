"""The order of the steps of an evaluation, with its tasks in this process."""

from pathlib import Path

import pytest
from samples import draw_picture, encode_image, make_spec
from stored_captions import write_captions, write_golden

from ray_jobs import evaluate
from ray_jobs.contract.artifacts import Scores, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics import run
from ray_jobs.storage import objects

GOLDEN = [
    {"image_id": name, "image": encode_image(draw_picture(place)), "references": ["a dot"]}
    for place, name in enumerate("ab")
]


@pytest.fixture
def captioned_spec(tmp_path: Path) -> Spec:
    spec = make_spec(root=str(tmp_path), judge__kind="vllm", judge__model="/m")
    write_golden(spec, GOLDEN)
    write_captions(spec, [{"image_id": "a", "caption": "a dot"}, {"image_id": "b", "caption": "a line"}])
    return spec


def test_step_times_are_reported_and_not_part_of_the_scores(captioned_spec: Spec) -> None:
    """Scores are equal in every run that computes them; the times belong to one run."""
    plain = captioned_spec.model_copy(
        update={"suite": captioned_spec.suite.model_copy(update={"judge": make_spec().suite.judge})}
    )
    evaluate.evaluate(plain)
    scores = Scores.model_validate_json(objects.read(f"{plain.run_uri}/scores.json"))
    assert list(scores.manifest.seconds) == ["judge", "score", "gate"]
    assert scores.manifest.seconds["score"] > 0
    assert all(took >= 0 for took in scores.manifest.seconds.values())
    assert run.score_captions(plain, plain.caption_id).seconds == {}
    assert Verdict.model_validate_json(objects.read(f"{plain.run_uri}/verdict.json")).outcome == "PASS"


@pytest.mark.parametrize("fault", ["own metric", "language"])
def test_a_fault_of_the_metrics_is_reported_before_the_judge_is_asked(
    captioned_spec: Spec, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "run_judge", lambda *_: pytest.fail("asked, and paid"))
    if fault == "language":
        spec = make_spec(root=captioned_spec.root, metrics__language="qq", judge__kind="vllm", judge__model="/m")
    else:
        spec = captioned_spec.model_copy(update={"own_metrics": {"polite": "METRIC = 3"}})
    with pytest.raises(InputError, match=r"metric polite: |metrics\.language 'qq'"):
        evaluate.evaluate(spec)
