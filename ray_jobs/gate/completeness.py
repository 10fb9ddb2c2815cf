"""Whether enough was scored to conclude anything: that comes before every verdict."""

from collections.abc import Mapping, Sequence

from ray_jobs.contract.artifacts import Comparison, Scores
from ray_jobs.contract.suite import Gate
from ray_jobs.gate.accumulator import Sample
from ray_jobs.gate.paired_differences import GateMetric


def count_expected(scores: Scores, metric: str) -> int:
    """The images that should have a value of the metric; one that is not of single captions is expected of each."""
    return scores.metrics[metric].expected if metric in scores.metrics else scores.images


def why_incomplete(
    gate: Gate,
    scores: Scores,
    metrics: Mapping[str, GateMetric],
    limited: Mapping[str, Sample],
    comparisons: Sequence[Comparison],
) -> str | None:
    """What is missing too much of to conclude anything, and what it could mean; None when enough is there.

    Enough are the captions, then the run's own values of each gating metric and limit, then the images with a value in
    both runs. A caption too short for a metric is not missing: with captions in both runs there is nothing to wait for.
    """
    gating = [one for one in comparisons if not one.advisory]
    captioned = scores.images - scores.failed.get("no-caption", 0)
    if captioned < gate.coverage * scores.images or not scores.images:
        return f"only {captioned} of {scores.images} images have a caption, {gate.coverage:.1%} are needed"
    present = {name: scores.metrics[name].n for name in gate.metrics if name in scores.metrics}
    present |= {name: sample.n for name, sample in limited.items()}
    for name, n in present.items():
        wanted = count_expected(scores, name)
        if wanted == 0 and metrics[name].needs != "text":
            return f"{name} has no value on any image: the data set gives it nothing to measure"
        if n < gate.coverage * wanted:
            return f"{name} is missing on {wanted - n} of {wanted} images{_format_bounds(gating, name)}"
    few: dict[str, int] = {}
    for one in gating:
        n, wanted = one.n, count_expected(scores, one.metric)
        if metrics[one.metric].needs == "text":
            n, wanted = _count_captioned_in_both(one, comparisons), scores.images
        if n < gate.coverage * wanted:
            few[one.metric] = min(n, few.get(one.metric, n))
    told = [
        f"{name}: only {n} images have a value in both runs{_format_bounds(gating, name)}" for name, n in few.items()
    ]
    return "; ".join(told) or None


def _count_captioned_in_both(one: Comparison, comparisons: Sequence[Comparison]) -> int:
    """The images with captions in both runs: `empty` has a value of each of these."""
    return next((other.n for other in comparisons if (other.metric, other.against) == ("empty", one.against)), one.n)


def _format_bounds(comparisons: Sequence[Comparison], metric: str) -> str:
    """What the difference could be if every missing value was as bad, or as good, as can be."""
    known = [one for one in comparisons if one.metric == metric and one.worst_low is not None]
    told = [f"[{one.worst_low:+.3f}, {one.worst_high:+.3f}] to the {one.against}" for one in known]
    return f"; whatever is missing, its difference lies within {' and '.join(told)}" if told else ""


def could_change_outcome(one: Comparison) -> bool:
    """Whether what is missing, at its worst or best, could change the outcome of a comparison."""
    if one.difference is None or one.worst_low is None or one.worst_high is None or one.low is None or one.high is None:
        return False
    if one.outcome == "PASS":
        return one.worst_low - (one.difference - one.low) < -one.margin
    return one.outcome == "FAIL" and one.worst_high + (one.high - one.difference) > -one.margin
