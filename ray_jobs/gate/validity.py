"""Whether enough was scored to conclude anything: that comes before every verdict."""

from collections.abc import Mapping, Sequence

from ray_jobs.contract import Comparison, Gate, Scores
from ray_jobs.gate.sample import Sample


def expected(scores: Scores, metric: str) -> int:
    """The images that should have a value of the metric; one that is not of single captions is expected of each."""
    return scores.metrics[metric].expected if metric in scores.metrics else scores.images


def missing(gate: Gate, scores: Scores, limited: Mapping[str, Sample]) -> str | None:
    """Which coverage of the run itself is short, or None: of the captions, of each gating metric, of each limit."""
    captioned = scores.images - scores.failed.get("no-caption", 0)
    if captioned < gate.coverage * scores.images or not scores.images:
        return f"only {captioned} of {scores.images} images have a caption, {gate.coverage:.1%} are needed"
    present = {name: scores.metrics[name].n for name in gate.metrics if name in scores.metrics}
    present |= {name: sample.n for name, sample in limited.items()}
    for name, n in present.items():
        wanted = expected(scores, name)
        if wanted == 0:
            return f"{name} has no value on any image: the data set gives it nothing to measure"
        if n < gate.coverage * wanted:
            return f"{name} is missing on {wanted - n} of {wanted} images"
    return None


def unshared(gate: Gate, scores: Scores, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The gating comparisons in which too few images have a value in both runs."""
    gating = [one for one in comparisons if not one.advisory]
    return [one for one in gating if one.n < gate.coverage * expected(scores, one.metric)]


def bounds(one: Comparison) -> str:
    """What the difference could be if every missing value was as bad, or as good, as can be."""
    if one.worst_low is None or one.worst_low == one.worst_high:
        return ""
    return f"; whatever is missing, its difference lies within [{one.worst_low:+.3f}, {one.worst_high:+.3f}]"


def could_turn(one: Comparison) -> bool:
    """Whether what is missing, at its worst or best, could change the outcome of a comparison."""
    if one.difference is None or one.worst_low is None or one.worst_high is None or one.low is None or one.high is None:
        return False
    if one.outcome == "PASS":
        return one.worst_low - (one.difference - one.low) < -one.margin
    return one.outcome == "FAIL" and one.worst_high + (one.high - one.difference) > -one.margin
