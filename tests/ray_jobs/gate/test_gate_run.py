"""The gate over stored scores, without Ray: parts on disk, paired by image and summed part by part."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from samples import make_baseline, make_spec

from ray_jobs.contract.artifacts import Manifest, Scores, Summary, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.gate import run
from ray_jobs.inputs.errors import InputError
from ray_jobs.judge.preference import FOLDER
from ray_jobs.metrics.registry import build_metrics
from ray_jobs.storage import manifests, parts

GATE: dict[str, Any] = {
    "gate__metrics": {"exact_match": {"margin": 0.05}, "chrf": {"margin": 1.0}},
    "gate__alpha": 0.01,
}
PAIRWISE: dict[str, Any] = {"judge__kind": "vllm", "judge__model": "/m", "judge__pairwise": True}
RANDOM = np.random.default_rng(1)
IDS = [f"folder-{index % 12}/{index:03d}.png" for index in range(300)]
RIGHT = (RANDOM.random(300) < 0.8).astype(float)
CHRF = RANDOM.normal(60, 10, 300)

Rows = dict[str, dict[str, Any]]


def rows(**columns: Any) -> Rows:
    """One row per image, by name: its label and the given values."""
    return {
        image_id: {"label": f"label-{index % 15}"} | {name: values[index] for name, values in columns.items()}
        for index, image_id in enumerate(IDS)
    }


def write_scores(spec: Spec, caption_id: str, values_by_id: Rows, part_rows: int = 64, commit: bool = True) -> Manifest:
    """Write parts of scores with these rows; a value that a row lacks is null. A row's name decides its part."""
    uri, parts_written = spec.scores_uri_of(caption_id), []
    names = [name for name in build_metrics(spec) if name != "preference"]
    fixed = {"image_id": pa.string(), "label": pa.string()}
    schema = pa.schema(fixed | dict.fromkeys(names, pa.float64()))
    for number in range(0, len(IDS), part_rows):
        ids = [image_id for image_id in values_by_id if image_id in set(IDS[number : number + part_rows])]
        table = pa.Table.from_pylist(
            [{"image_id": image_id, **values_by_id[image_id]} for image_id in ids], schema=schema
        )
        parts_written.append(parts.write(uri, manifests.name_of_part(number // part_rows), table, {"lost": {}}))
    manifest = Manifest(
        stage="scores", id=spec.scores_id_of(caption_id), rows_in=len(values_by_id), rows_out=len(values_by_id),
        parts=tuple(parts_written), created_at=datetime.now(UTC),
    )  # fmt: skip
    return manifests.commit(uri, manifest) if commit else manifest


def scores(spec: Spec, manifest: Manifest, missing: int = 0) -> Scores:
    n = manifest.rows_in
    summary = Summary(n=n - missing, expected=n, mean=0, standard_error=0, low=0, high=0)
    return Scores(
        run_id=spec.run_id, scoring_id=spec.scoring_id, images=n, scored=n, failed={},
        metrics={name: summary for name in build_metrics(spec) if name != "preference"}, manifest=manifest,
    )  # fmt: skip


def make_gated_spec(folder: Path, anchor: str | None = None, **settings: Any) -> Spec:
    """A run on step-2 with step-1 as its baseline."""

    def make_named_spec(fingerprint: str, called: str) -> Spec:
        return make_spec(root=str(folder), fingerprint=fingerprint * 16, called=called, **{**GATE, **settings})

    others = {"baseline": make_baseline(make_named_spec("b", "step-1"))}
    if anchor:
        others["anchor"] = make_baseline(make_named_spec(anchor, "step-0"))
    return make_named_spec("c", "step-2").model_copy(update=others)


def run_gate(spec: Spec, old: Rows, new: Rows, **settings: Any) -> Verdict:
    assert spec.baseline
    write_scores(spec, spec.baseline.caption_id, old, **settings)
    return run.run_gate(spec, scores(spec, write_scores(spec, spec.caption_id, new, **settings)))


def test_scores_that_hardly_differ_pass(tmp_path: Path) -> None:
    old, new = rows(exact_match=RIGHT, chrf=CHRF), rows(exact_match=RIGHT, chrf=CHRF + RANDOM.normal(0, 0.1, 300))
    verdict = run_gate(make_gated_spec(tmp_path), old, new)
    assert verdict.outcome == "PASS"
    assert verdict.reason.endswith("; against step-1")
    gating_first = [comparison.metric for comparison in verdict.comparisons][:2]
    assert gating_first == ["exact_match", "chrf"]
    assert {comparison.metric for comparison in verdict.comparisons if comparison.advisory} >= {
        "empty",
        "truncated",
        "repetition",
    }
    assert not {comparison.metric for comparison in verdict.comparisons} & {"characters", "words", "tokens"}, (
        "no direction"
    )


@pytest.mark.parametrize("part_rows", [25, 64, 300])
def test_parts_are_summed_up_and_images_are_paired_by_name(tmp_path: Path, part_rows: int) -> None:
    new = CHRF + RANDOM.normal(-3, 2, 300)
    old_rows, new_rows = rows(exact_match=RIGHT, chrf=CHRF), rows(exact_match=RIGHT, chrf=new)
    backwards = dict(reversed(list(old_rows.items())))
    verdict = run_gate(make_gated_spec(tmp_path), backwards, new_rows, part_rows=part_rows)
    comparison = verdict.comparisons[1]
    assert (comparison.metric, comparison.n, verdict.outcome) == ("chrf", 300, "FAIL")
    assert comparison.difference == pytest.approx((new - CHRF).mean())
    assert comparison.low == pytest.approx((new - CHRF).mean() - 2.4 * (new - CHRF).std() / math.sqrt(300), abs=0.05)


def test_what_either_lacks_is_missing_and_never_0(tmp_path: Path) -> None:
    spec = make_gated_spec(tmp_path, gate__coverage=0.9)
    old, new = rows(exact_match=RIGHT, chrf=CHRF), rows(exact_match=RIGHT, chrf=CHRF)
    del old[IDS[7]], new[IDS[99]]
    old[IDS[0]]["chrf"], new[IDS[1]]["chrf"] = None, None
    comparison = run_gate(spec, old, new).comparisons[1]
    assert (comparison.n, comparison.difference) == (296, 0)
    assert comparison.worst_low is not None
    assert -2 < comparison.worst_low < 0 < (comparison.worst_high or 0) < 2


def test_the_anchor_is_compared_too_and_only_once_when_it_is_the_baseline(tmp_path: Path) -> None:
    spec = make_gated_spec(tmp_path, anchor="a")
    assert spec.anchor
    write_scores(spec, spec.anchor.caption_id, rows(exact_match=np.ones(300), chrf=CHRF))
    verdict = run_gate(spec, rows(exact_match=RIGHT, chrf=CHRF), rows(exact_match=RIGHT, chrf=CHRF))
    assert verdict.outcome == "FAIL"
    assert verdict.reason.endswith("; against anchor step-0")
    assert (verdict.baseline, verdict.anchor) == (spec.baseline, spec.anchor)
    other = make_gated_spec(tmp_path / "one", anchor="b")
    same = run_gate(other, rows(exact_match=RIGHT, chrf=CHRF), rows(exact_match=RIGHT, chrf=CHRF))
    assert {comparison.against for comparison in same.comparisons} == {"baseline"}
    assert same.anchor == other.anchor


@pytest.mark.parametrize(("cluster", "clusters"), [("label", 15), ("source", 12), ("none", None)])
def test_clusters_are_labels_or_the_folders_of_the_images(tmp_path: Path, cluster: str, clusters: int | None) -> None:
    spec = make_gated_spec(tmp_path, gate__cluster=cluster)
    new = rows(exact_match=RIGHT, chrf=CHRF + RANDOM.normal(0, 1, 300))
    comparison = run_gate(spec, rows(exact_match=RIGHT, chrf=CHRF), new).comparisons[1]
    assert (comparison.clusters, comparison.outcome) == (clusters, "PASS")
    assert comparison.method.startswith("cluster-robust") == (clusters is not None)


def test_clusters_by_label_need_labels(tmp_path: Path) -> None:
    bare = {image_id: {"chrf": 1.0, "exact_match": 1.0} for image_id in IDS}
    with pytest.raises(InputError, match=r"gate.cluster: label, but image folder-0/000.png has none; name the column"):
        run_gate(make_gated_spec(tmp_path, gate__cluster="label"), bare, bare)


def test_limits_are_of_the_runs_own_values(tmp_path: Path) -> None:
    spec = make_gated_spec(tmp_path, gate__limits={"empty": {"max": 0.1}, "words": {"min": 5}})
    same = {"exact_match": RIGHT, "chrf": CHRF}
    new = rows(**same, empty=(np.arange(300) < 90).astype(float), words=RANDOM.poisson(9, 300).astype(float))
    verdict = run_gate(spec, rows(**same, empty=np.zeros(300)), new)
    assert [(limit.metric, limit.outcome, limit.n) for limit in verdict.limits] == [
        ("empty", "FAIL", 300),
        ("words", "PASS", 300),
    ]
    assert verdict.reason == "empty 0.300 [0.240, 0.366], at most 0.1"


def test_the_first_run_needs_no_other(tmp_path: Path) -> None:
    spec = make_gated_spec(tmp_path).model_copy(update={"baseline": None})
    stored_scores = scores(spec, write_scores(spec, spec.caption_id, rows(exact_match=RIGHT, chrf=CHRF)))
    verdict = run.run_gate(spec, stored_scores)
    assert (verdict.outcome, verdict.comparisons) == ("PASS", ())
    assert "accepted as the first baseline" in verdict.reason


def test_the_judges_preference_gates_against_the_baseline_alone(tmp_path: Path) -> None:
    settings: dict[str, Any] = {**PAIRWISE, "gate__metrics": {"preference": {"margin": 0.1}}, "gate__coverage": 0.99}
    spec = make_gated_spec(tmp_path, anchor="a", **settings)
    assert spec.anchor
    write_scores(spec, spec.anchor.caption_id, rows())
    preferred = RANDOM.choice([-1.0, -1.0, -1.0, 0.0, 1.0], 300)
    for number in range(0, 300, 64):
        indices = range(number, min(number + 64, 300))
        values = [None if index == 5 else float(preferred[index]) for index in indices]
        table = pa.table({"image_id": [IDS[index] for index in indices], "preference": pa.array(values, pa.float64())})
        parts.write(spec.run_uri, manifests.name_of_part(number // 64), table, {}, FOLDER)
    verdict = run_gate(spec.model_copy(), rows(), rows())
    (comparison,) = [comparison for comparison in verdict.comparisons if comparison.metric == "preference"]
    assert (comparison.against, comparison.n, comparison.baseline) == ("baseline", 299, 0)
    assert comparison.difference == pytest.approx(np.delete(preferred, 5).mean())
    assert verdict.outcome == "FAIL"


def test_without_a_baseline_there_is_no_preference_to_gate_on(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        **PAIRWISE,
        "gate__metrics": {"preference": {"margin": 0.1}},
        "gate__limits": {"preference": {"min": -0.2}},
    }
    spec = make_gated_spec(tmp_path, **settings).model_copy(update={"baseline": None})
    verdict = run.run_gate(spec, scores(spec, write_scores(spec, spec.caption_id, rows())))
    assert (verdict.outcome, verdict.limits) == ("PASS", ())


def test_a_baseline_without_scores_is_reported(tmp_path: Path) -> None:
    spec = make_gated_spec(tmp_path)
    stored_scores = scores(spec, write_scores(spec, spec.caption_id, rows(exact_match=RIGHT, chrf=CHRF)))
    assert spec.baseline
    with pytest.raises(InputError, match="the evaluate stage is not complete"):
        run.run_gate(spec, stored_scores)
    write_scores(spec, spec.baseline.caption_id, rows(exact_match=RIGHT, chrf=CHRF))
    Path(manifests.uri_of_part(spec.scores_uri_of(spec.baseline.caption_id), "part-00002")).unlink()
    with pytest.raises(InputError, match="part-00002"):
        run.run_gate(spec, stored_scores)


def test_the_same_captions_under_another_name_pass_as_equal(tmp_path: Path) -> None:
    spec = make_gated_spec(tmp_path)
    assert spec.baseline
    again = spec.model_copy(update={"baseline": spec.baseline.model_copy(update={"caption_id": spec.caption_id})})
    manifest = write_scores(again, again.caption_id, rows(exact_match=RIGHT, chrf=CHRF))
    verdict = run.run_gate(again, scores(again, manifest))
    assert (verdict.outcome, verdict.reason) == (
        "PASS",
        "exact_match equal, the same captions; chrf equal, the same captions; against step-1",
    )
