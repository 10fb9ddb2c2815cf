"""Comparisons into one verdict with one sentence that says why."""

from collections.abc import Mapping, Sequence

from ray_jobs.contract import METRICS, Baseline, Comparison, Gate, Outcome, Scores, Verdict
from ray_jobs.gate.compare import compare
from ray_jobs.gate.pairing import Pairs


def decide(gate: Gate, scores: Scores, baseline: Baseline | None, pairs: Mapping[str, Pairs] | None) -> Verdict:
    """The verdict on a run; `pairs` holds the gating metrics of the run and its baseline, None without a baseline.

    INCOMPLETE comes first: with too many scores missing nothing is concluded. Each metric may FAIL at alpha divided by
    the number of gating metrics (Bonferroni), so that the whole verdict falsely FAILs with probability at most alpha;
    every one must PASS for a PASS.
    """
    missing = _missing(gate, scores)
    if missing:
        return Verdict(outcome="INCOMPLETE", reason=missing, baseline=baseline, alpha=gate.alpha)
    if baseline is None or pairs is None:
        reason = "nothing to compare with yet: accepted as the first baseline"
        return Verdict(outcome="PASS", reason=reason, baseline=None, alpha=gate.alpha)
    each = gate.alpha / max(1, len(gate.metrics))
    comparisons = tuple(
        compare(name, pairs[name].baseline, pairs[name].candidate, METRICS.get(name, 1), metric.margin, each)
        for name, metric in gate.metrics.items()
    )
    short = [one for one in comparisons if one.n < gate.coverage * scores.metrics[one.metric].expected]
    if short:
        reason = "; ".join(f"{one.metric}: only {one.n} images have a value in both runs" for one in short)
        return Verdict(
            outcome="INCOMPLETE", reason=reason, baseline=baseline, alpha=gate.alpha, comparisons=comparisons
        )
    return _concluded(gate, comparisons, baseline)


def _missing(gate: Gate, scores: Scores) -> str | None:
    """Which coverage is short, or None: of the captions, and of every gating metric."""
    captioned = scores.images - scores.failed.get("no-caption", 0)
    if captioned < gate.coverage * scores.images:
        return f"only {captioned} of {scores.images} images have a caption, {gate.coverage:.1%} are needed"
    for name in gate.metrics:
        summary = scores.metrics[name]
        if summary.expected == 0:
            return f"{name} has no value on any image: the data set gives it nothing to measure"
        if summary.n < gate.coverage * summary.expected:
            return f"{name} is missing on {summary.expected - summary.n} of {summary.expected} images"
    return None


def _concluded(gate: Gate, comparisons: Sequence[Comparison], baseline: Baseline) -> Verdict:
    against = f"against {baseline.checkpoint.name}"
    failed = [one for one in comparisons if one.outcome == "FAIL"]
    open_ = [one for one in comparisons if one.outcome == "INCONCLUSIVE"]
    outcome: Outcome
    if failed:
        outcome, reason = "FAIL", "; ".join(_told(one) for one in failed)
    elif open_:
        outcome, reason = "INCONCLUSIVE", "; ".join(_told(one) + _needed(one) for one in open_)
    elif comparisons:
        outcome, reason = "PASS", "; ".join(_told(one) for one in comparisons)
    else:
        outcome, reason = "PASS", "the suite gates on no metric"
    return Verdict(
        outcome=outcome,
        reason=f"{reason}; {against}",
        baseline=baseline,
        alpha=gate.alpha,
        comparisons=tuple(comparisons),
    )


def _told(one: Comparison) -> str:
    if one.difference is None:
        return f"{one.metric}: {one.n} images in common"
    moved = "better" if one.difference > 0 else "worse" if one.difference < 0 else "different"
    return f"{one.metric} {abs(one.difference):.3f} {moved} [{one.low:+.3f}, {one.high:+.3f}], margin {one.margin:g}"


def _needed(one: Comparison) -> str:
    return f" ({one.n} images; about {one.decisive_n} would decide)" if one.decisive_n else f" ({one.n} images)"
