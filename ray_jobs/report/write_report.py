"""Write `report.html`: the verdict with its evidence, on one page without references to other files or hosts.

The driver of `evaluate` calls this. Captions are hostile text. The template escapes every caption, and
`display_text.sanitise` makes its control characters visible.
"""

from typing import Any

from ray_jobs.contract.artifacts import Scores, Verdict
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.report import trend
from ray_jobs.report.links import Links, measure_depth, path_of_run, read_pages_url
from ray_jobs.report.page import render_page
from ray_jobs.report.page_context import Headline, PageContext
from ray_jobs.report.rank_images import Side
from ray_jobs.storage import json_files, manifests, objects

TONES = {"PASS": "pass", "FAIL": "fail", "INCONCLUSIVE": "unsure", "INCOMPLETE": "missing"}


def write_report(spec: Spec, scores: Scores, verdict: Verdict) -> str:
    """Write the run's report. Returns its URI. Needs the captions and scores of the run and of its baseline."""
    uri = f"{spec.results_uri}/report.html"
    objects.write(uri, render_report(spec, scores, verdict).encode())
    return uri


def render_report(spec: Spec, scores: Scores, verdict: Verdict) -> str:
    """The run's report as HTML. Needs the captions and scores of the run and of its baseline."""
    compared_with = {"baseline": spec.baseline, "anchor": spec.anchor}
    headline = Headline(
        title=f"{spec.checkpoint.name}: {verdict.outcome}",
        word=verdict.outcome,
        tone=TONES[verdict.outcome],
        sentence=verdict.reason,
    )
    baseline = spec.baseline
    context = PageContext(
        spec=spec,
        scores=scores,
        headline=headline,
        golden=manifests.require_manifest(spec.golden_uri, "preprocess"),
        captions=manifests.require_manifest(spec.captions_uri, "caption"),
        candidate=describe_side(spec, spec.checkpoint, spec.caption_id),
        current_run=trend.describe_run(spec.checkpoint, spec.scoring_id, verdict.outcome, scores.metrics),
        baseline=describe_side(spec, baseline.checkpoint, baseline.caption_id) if baseline else None,
        compared_with={role: run.checkpoint for role, run in compared_with.items() if run},
        comparisons=verdict.comparisons,
        limits=verdict.limits,
        judge=load_judge_totals(spec.results_uri),
        links=Links(measure_depth(spec.root, spec.results_uri), read_pages_url()),
        baseline_run=path_of_run(spec.root, baseline.run_uri) if baseline else "",
    )
    return render_page(context)


def describe_side(spec: Spec, checkpoint: Checkpoint, caption_id: str) -> Side:
    """The captions of a checkpoint, with their scores under the spec's scoring id."""
    name = checkpoint.name
    if caption_id != spec.caption_id and name == spec.checkpoint.name:  # both checkpoints have one name
        name = f"{name} {checkpoint.fingerprint[:8]}"
    return Side(name, spec.captions_uri_of(caption_id), spec.scores_uri_of(caption_id))


def load_judge_totals(run_uri: str) -> dict[str, Any]:
    """The judge's totals and cost; empty for a run without a judge."""
    try:
        return json_files.load_json(f"{run_uri}/judge.json")
    except (FileNotFoundError, ValueError):
        return {}
