"""Write the reason of a verdict. The reason is the first sentence that a person reads."""

from ray_jobs.contract.artifacts import Comparison, LimitCheck
from ray_jobs.gate.completeness import could_change_outcome
from ray_jobs.gate.zero_variance import SameCaptionsTest


def describe_comparison(comparison: Comparison) -> str:
    """For example `exact_match 0.211 worse [-0.288, -0.134], margin 0.05`, and why the result is INCONCLUSIVE."""
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
    """For example `empty 0.000 [0.000, 0.021], at most 0.01`, and how many images would decide if INCONCLUSIVE."""
    bound = f"{'at most' if check.kind == 'max' else 'at least'} {check.limit:g}"
    if check.value is None or check.low is None:
        return f"{check.metric}, {bound}: {check.method}"
    # Equal values of a metric without an upper bound, such as `words`, have an interval without an upper end.
    high = "inf" if check.high is None else f"{check.high:.3f}"
    text = f"{check.metric} {check.value:.3f} [{check.low:.3f}, {high}], {bound}"
    return f"{text} {_describe_decisive_n(check)}" if check.outcome == "INCONCLUSIVE" else text


def _explain_inconclusive(comparison: Comparison) -> str:
    """The reason why a comparison is not a FAIL although its interval is below -margin; "" if the interval is not."""
    if comparison.high is None or comparison.high >= -comparison.margin:
        return ""
    return ", too skewed to be called worse" if comparison.p_worse == 1 else ", not after Holm's correction"


def _describe_decisive_n(result: Comparison | LimitCheck) -> str:
    enough = f"about {result.decisive_n} would decide" if result.decisive_n else "no number of them would decide"
    return f"({result.n} images; {enough})"
