"""The gate over kept scores: the candidate's beside those of what it is compared with."""

from ray_jobs import parts
from ray_jobs.contract import Baseline, Scores, Spec, Verdict
from ray_jobs.gate.pairing import paired
from ray_jobs.gate.verdict import decide
from ray_jobs.scoring import load_scores


def gate(spec: Spec, scores: Scores) -> Verdict:
    """The verdict on the run whose scores these are."""
    if spec.baseline is None:
        return decide(spec.suite.gate, scores, None, None)
    names = [part.name for part in scores.manifest.parts]
    candidate, baseline = load_scores(spec.scores_uri, names), load_scores(_scores_uri(spec, spec.baseline), names)
    pairs = paired(candidate, baseline, list(spec.suite.gate.metrics))
    return decide(spec.suite.gate, scores, spec.baseline, pairs)


def _scores_uri(spec: Spec, baseline: Baseline) -> str:
    uri = spec.scores_uri_of(baseline.caption_id)
    parts.require(uri, "evaluate")
    return uri
