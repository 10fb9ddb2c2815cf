"""What the gate found, in words that a person reads first and often only."""

from ray_jobs.contract.artifacts import Comparison, LimitCheck
from ray_jobs.gate.completeness import could_change_outcome
from ray_jobs.gate.zero_variance import SameCaptionsTest


def describe_comparison(one: Comparison) -> str:
    """`exact_match 0.211 worse [-0.288, -0.134], margin 0.05`, and what keeps it from a conclusion."""
    if one.difference is None or one.low is None:
        return f"{one.metric}: {one.method}"
    if one.method == SameCaptionsTest.method:
        return f"{one.metric} equal, {one.method}"
    moved = "better" if one.difference > 0 else "worse" if one.difference < 0 else "different"
    text = f"{one.metric} {abs(one.difference):.3f} {moved} [{one.low:+.3f}, {one.high:+.3f}], margin {one.margin:g}"
    if one.outcome == "INCONCLUSIVE":
        return f"{text}{_explain_inconclusive(one)} {_describe_decisive_n(one)}"
    return f"{text}, though what is missing could turn it" if could_change_outcome(one) else text


def describe_limit(one: LimitCheck) -> str:
    """`empty 0.000 [0.000, 0.021], at most 0.01`, and what keeps it from a conclusion."""
    bound = f"{'at most' if one.kind == 'max' else 'at least'} {one.limit:g}"
    if one.value is None or one.low is None:
        return f"{one.metric}, {bound}: {one.method}"
    # Equal values of a metric without an upper bound, such as `words`, have an interval without an upper end.
    high = "inf" if one.high is None else f"{one.high:.3f}"
    text = f"{one.metric} {one.value:.3f} [{one.low:.3f}, {high}], {bound}"
    return f"{text} {_describe_decisive_n(one)}" if one.outcome == "INCONCLUSIVE" else text


def _explain_inconclusive(one: Comparison) -> str:
    """Why an interval that lies below the margin is no FAIL."""
    if one.high is None or one.high >= -one.margin:
        return ""
    return ", too skewed to be called worse" if one.p_worse == 1 else ", not after Holm's correction"


def _describe_decisive_n(one: Comparison | LimitCheck) -> str:
    enough = f"about {one.decisive_n} would decide" if one.decisive_n else "no number of them would decide"
    return f"({one.n} images; {enough})"
