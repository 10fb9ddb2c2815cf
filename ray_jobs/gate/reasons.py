"""Write the reason of a verdict, the first sentence that a person reads."""

from ray_jobs.contract.artifacts import Comparison, LimitCheck
from ray_jobs.gate.completeness import could_change_outcome
from ray_jobs.gate.zero_variance import SameCaptionsTest


def describe_comparison(comparison: Comparison) -> str:
    """`exact_match 0.211 worse [-0.288, -0.134], margin 0.05`, and what keeps it from a conclusion."""
    if comparison.difference is None or comparison.low is None:
        return f"{comparison.metric}: {comparison.method}"
    if comparison.method == SameCaptionsTest.method:
        return f"{comparison.metric} equal, {comparison.method}"
    moved = "better" if comparison.difference > 0 else "worse" if comparison.difference < 0 else "different"
    interval = f"[{comparison.low:+.3f}, {comparison.high:+.3f}]"
    text = f"{comparison.metric} {abs(comparison.difference):.3f} {moved} {interval}, margin {comparison.margin:g}"
    if comparison.outcome == "INCONCLUSIVE":
        return f"{text}{_explain_inconclusive(comparison)} {_describe_decisive_n(comparison)}"
    return f"{text}, though what is missing could turn it" if could_change_outcome(comparison) else text


def describe_limit(check: LimitCheck) -> str:
    """`empty 0.000 [0.000, 0.021], at most 0.01`, and what keeps it from a conclusion."""
    bound = f"{'at most' if check.kind == 'max' else 'at least'} {check.limit:g}"
    if check.value is None or check.low is None:
        return f"{check.metric}, {bound}: {check.method}"
    # Equal values of a metric without an upper bound, such as `words`, have an interval without an upper end.
    high = "inf" if check.high is None else f"{check.high:.3f}"
    text = f"{check.metric} {check.value:.3f} [{check.low:.3f}, {high}], {bound}"
    return f"{text} {_describe_decisive_n(check)}" if check.outcome == "INCONCLUSIVE" else text


def _explain_inconclusive(comparison: Comparison) -> str:
    """Why a comparison whose interval is below the margin is not a FAIL."""
    if comparison.high is None or comparison.high >= -comparison.margin:
        return ""
    return ", too skewed to be called worse" if comparison.p_worse == 1 else ", not after Holm's correction"


def _describe_decisive_n(result: Comparison | LimitCheck) -> str:
    enough = f"about {result.decisive_n} would decide" if result.decisive_n else "no number of them would decide"
    return f"({result.n} images; {enough})"
