"""Decide whether enough images have scores to conclude anything. `verdict` checks this before all else."""

from collections.abc import Mapping, Sequence

from ray_jobs.contract.artifacts import Comparison, Scores
from ray_jobs.contract.sections.gate import Gate
from ray_jobs.gate.accumulator import Sample
from ray_jobs.gate.paired_differences import GateMetric


def count_expected_values(scores: Scores, metric: str) -> int:
    """The number of images that should have a value of the metric.

    These are all images when the scores do not list the metric, because it is not a metric of single captions.
    """
    return scores.metrics[metric].expected if metric in scores.metrics else scores.images


def why_incomplete(
    gate: Gate,
    scores: Scores,
    metrics: Mapping[str, GateMetric],
    limited: Mapping[str, Sample],
    comparisons: Sequence[Comparison],
) -> str | None:
    """The reason why too much is missing to conclude anything; None when enough is there.

    The reason includes the worst case of the missing values. The function checks the captions first. Then it checks
    the run's own values of each gating metric and limit, and then the images with a value in both runs. A caption that
    is too short for a metric does not count as missing, because no retry would give it a value.
    """
    gating = [comparison for comparison in comparisons if not comparison.advisory]
    captioned = scores.images - scores.failed.get("no-caption", 0)
    if captioned < gate.coverage * scores.images or not scores.images:
        return f"only {captioned} of {scores.images} images have a caption, {gate.coverage:.1%} are needed"
    present = {name: scores.metrics[name].n for name in gate.metrics if name in scores.metrics}
    present |= {name: sample.n for name, sample in limited.items()}
    for name, n in present.items():
        wanted = count_expected_values(scores, name)
        if wanted == 0 and metrics[name].needs != "text":
            return f"{name} has no value on any image: the data set gives it nothing to measure"
        if n < gate.coverage * wanted:
            return f"{name} is missing on {wanted - n} of {wanted} images{_format_bounds(gating, name)}"
    few: dict[str, int] = {}
    for comparison in gating:
        n, wanted = comparison.n, count_expected_values(scores, comparison.metric)
        if metrics[comparison.metric].needs == "text":
            n, wanted = _count_captioned_in_both(comparison, comparisons), scores.images
        if n < gate.coverage * wanted:
            few[comparison.metric] = min(n, few.get(comparison.metric, n))
    sentences = [
        f"{name}: only {n} images have a value in both runs{_format_bounds(gating, name)}" for name, n in few.items()
    ]
    return "; ".join(sentences) or None


def _count_captioned_in_both(comparison: Comparison, comparisons: Sequence[Comparison]) -> int:
    """The number of images with captions in both runs. They are the images with a value of `empty` in both."""
    return next(
        (other.n for other in comparisons if (other.metric, other.against) == ("empty", comparison.against)),
        comparison.n,
    )


def _format_bounds(comparisons: Sequence[Comparison], metric: str) -> str:
    """The range of the difference when every missing value is as bad, or as good, as possible."""
    known = [
        comparison for comparison in comparisons if comparison.metric == metric and comparison.worst_low is not None
    ]
    bounds = [
        f"[{comparison.worst_low:+.3f}, {comparison.worst_high:+.3f}] to the {comparison.against}"
        for comparison in known
    ]
    return f"; whatever is missing, its difference lies within {' and '.join(bounds)}" if bounds else ""


def could_change_outcome(comparison: Comparison) -> bool:
    """True if the missing values, at their worst or best, could change the outcome of the comparison."""
    if (
        comparison.difference is None
        or comparison.worst_low is None
        or comparison.worst_high is None
        or comparison.low is None
        or comparison.high is None
    ):
        return False
    if comparison.outcome == "PASS":
        return comparison.worst_low - (comparison.difference - comparison.low) < -comparison.margin
    return (
        comparison.outcome == "FAIL"
        and comparison.worst_high + (comparison.high - comparison.difference) > -comparison.margin
    )
