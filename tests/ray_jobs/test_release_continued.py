"""One more metric over the captions of e0c6db2: nothing is captioned again, and the judge gets no question."""

from pathlib import Path

import pytest
import yaml
from ray_cluster import Cluster
from release_corpus import RUNS, plan_again, restore, suite_in, sums_of
from stage_jobs import run_stage
from stored_captions import NO_CLUSTER, LocalDataset, map_locally

from ray_jobs import evaluate, publish
from ray_jobs.contract.artifacts import Scores, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.metrics import run as scoring
from ray_jobs.metrics.text import corpus_counts
from ray_jobs.storage import json_files

OWN = """from ray_jobs.metrics import Metric

METRIC = Metric("commas", "share", 0, (0, 1), kind="share", measure=lambda caption: float("," in caption.text))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of that release, with the metric added to this deployment's suite."""
    root_restored = restore(tmp_path, monkeypatch)
    suite = yaml.safe_load(suite_in(tmp_path).read_text()) | {"metrics": {"own": ["commas.py"]}}
    suite_in(tmp_path).write_text(yaml.safe_dump(suite))
    (suite_in(tmp_path).parent / "commas.py").write_text(OWN)
    monkeypatch.setenv("ASSAY_SUITES", str(suite_in(tmp_path).parent))
    return root_restored


def plan_one_more(root: Path) -> Spec:
    was = json_files.load(Spec, f"{root}/{RUNS['step-0809']}/spec.json")
    spec = plan_again(root.parent, "step-0809")
    assert spec.run_id != was.run_id
    assert (spec.golden_id, spec.caption_id, spec.baseline) == (was.golden_id, was.caption_id, was.baseline)
    return spec


def assert_continued(root: Path, spec: Spec, before: dict[str, tuple[str, int]]) -> None:
    after = sums_of(root)
    assert {key: after.get(key) for key in before} == before, "what e0c6db2 wrote was made again"
    new = after.keys() - before.keys()
    assert not [key for key in new if key.startswith(("golden/", "captions/", "judge/"))]
    scores = json_files.load(Scores, f"{spec.run_uri}/scores.json")
    assert scores.metrics["commas"].n == scores.scored
    stored_verdict = json_files.load(Verdict, f"{root}/{RUNS['step-0809']}/verdict.json")
    verdict = json_files.load(Verdict, f"{spec.run_uri}/verdict.json")
    assert verdict.outcome == stored_verdict.outcome == "FAIL"
    assert publish.publish(spec).verdict == verdict


def test_another_metric_is_measured_over_the_kept_captions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_counts, "_run_on_ray", map_locally)
    monkeypatch.setattr(scoring, "ray", NO_CLUSTER)
    monkeypatch.setattr(scoring, "ray_dataset", LocalDataset)
    before = sums_of(root)
    spec = plan_one_more(root)
    evaluate.evaluate(spec)
    assert_continued(root, spec, before)


@pytest.mark.integration
def test_the_job_measures_it_on_a_real_cluster(root: Path, on_cluster: Cluster) -> None:
    before = sums_of(root)
    spec = plan_one_more(root)
    run_stage("evaluate", spec)
    assert_continued(root, spec, before)
