"""One more metric over the captions of e0c6db2: nothing is captioned again, and the judge gets no question."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from ray_cluster import Cluster, start_cluster
from release_corpus import RUNS, plan_again, restore, suite_in, sums_of
from stage_jobs import run_stage
from stage_versions import PRESENT, RELEASED, variables_of
from stored_captions import LocalDataset

from ray_jobs import evaluate, publish
from ray_jobs.contract.artifacts import Scores, Verdict
from ray_jobs.contract.metric_names import METRICS
from ray_jobs.contract.spec import Spec
from ray_jobs.job import frame
from ray_jobs.metrics import run as scoring
from ray_jobs.metrics.text import corpus_counts
from ray_jobs.storage import json_files, manifests, parts
from ray_jobs.storage.pairing import read_floats

OWN = """from ray_jobs.metrics import Metric

METRIC = Metric("commas", "share", 0, (0, 1), kind="share", measure=lambda caption: float("," in caption.text))
"""
COUNTS_VERSION = 1  # of corpus_counts in e0c6db2
SPEC_FILE = "ray_jobs/contract/spec.py"


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
    # With another VERSION of corpus_counts the references are counted anew, beside the golden set's files.
    counts = () if corpus_counts.VERSION == COUNTS_VERSION else (corpus_counts.references_uri(spec),)
    assert not [
        key
        for key in new
        if key.startswith(("golden/", "captions/", "judge/")) and not f"{root}/{key}".startswith(counts)
    ]
    scores = json_files.load(Scores, f"{spec.run_uri}/scores.json")
    assert scores.metrics["commas"].n == scores.scored
    stored_verdict = json_files.load(Verdict, f"{root}/{RUNS['step-0809']}/verdict.json")
    verdict = json_files.load(Verdict, f"{spec.run_uri}/verdict.json")
    assert verdict.outcome == stored_verdict.outcome == "FAIL"
    assert publish.publish(spec).verdict == verdict


@pytest.fixture
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks with the own metric run in this process."""
    monkeypatch.setattr(frame, "connect", lambda: None)
    monkeypatch.setattr(scoring, "_count_blocks", lambda count: 1)
    monkeypatch.setattr(scoring, "ray_dataset", LocalDataset)


@pytest.mark.usefixtures("_no_cluster")
def test_another_metric_is_measured_over_the_kept_captions(root: Path) -> None:
    before = sums_of(root)
    spec = plan_one_more(root)
    evaluate.evaluate(spec)
    assert_continued(root, spec, before)


@pytest.mark.skipif(
    PRESENT["EVALUATE_VERSION"] != RELEASED["EVALUATE_VERSION"],
    reason="EVALUATE_VERSION was raised, so the metrics may measure something else than that release did",
)
@pytest.mark.usefixtures("_no_cluster")
def test_every_built_in_metric_measures_what_that_release_stored(root: Path) -> None:
    was = json_files.load(Spec, f"{root}/{RUNS['step-0809']}/spec.json")
    spec = plan_one_more(root)
    evaluate.evaluate(spec)
    stored_parts = manifests.require_manifest(was.scores_uri, "evaluate").parts
    assert len(stored_parts) == 5
    for part in stored_parts:
        stored, measured = (parts.read(uri, part.name) for uri in (was.scores_uri, spec.scores_uri))
        assert measured["image_id"] == stored["image_id"]
        changed = [
            name
            for name in METRICS
            if not np.allclose(read_floats(measured, name), read_floats(stored, name), 1e-9, 1e-9, equal_nan=True)
        ]
        assert not changed, f"{changed} have other values than before: raise EVALUATE_VERSION in {SPEC_FILE}"


@pytest.fixture
def on_released_cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The shared cluster. If a version was raised since that release: a cluster whose processes have its versions."""
    if PRESENT == RELEASED:
        yield request.getfixturevalue("on_cluster")
        return
    sources = {"ASSAY_SOURCES": os.environ["ASSAY_SOURCES"]}
    with start_cluster(sources | variables_of(RELEASED)) as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        yield cluster


@pytest.mark.integration
@pytest.mark.usefixtures("on_released_cluster")
def test_the_job_measures_it_on_a_real_cluster(root: Path) -> None:
    before = sums_of(root)
    spec = plan_one_more(root)
    run_stage("evaluate", spec)
    assert_continued(root, spec, before)
