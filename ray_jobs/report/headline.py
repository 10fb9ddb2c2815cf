"""Write the first sentences of the report: what changed in how many images, and which criterion changed with it.

`report.page` calls this. All counts are of pairs: images with a value on both sides. The module says nothing about a
run without pairs, and nothing about a cause that the counts do not show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray_jobs.contract.artifacts import Comparison, Summary
from ray_jobs.inputs.display_text import sanitise_name
from ray_jobs.report.image_kinds import ImageKinds
from ray_jobs.report.numbers import choose_decimals, format_number
from ray_jobs.report.rank_images import PairCounts, ScanResult

YES_OR_NO = "share of captions"  # the unit of metrics whose values are 0 and 1
LEAST_SHARE = 0.25  # a criterion is named as a cause if it changed in at least this share of the changed images
ALIKE = 0.8  # criteria that changed in at least this share as many images as the first are named with it
MOST_CAUSES, MOST_SENTENCES = 4, 3
MOST_CRITERIA = 4
# How a caption with the value 1 is called, in the words "54 fewer of 256 captions are ...".
STATES = {
    "exact_match": "exact",
    "empty": "empty",
    "truncated": "cut off",
    "refusal": "refusals",
    "language": "in the right language",
    "label_hit": "naming their label",
}


@dataclass(frozen=True)
class Explanation:
    """`sentence` is the headline. `detail` says how the changed images divide; empty if there is nothing to add."""

    sentence: str
    detail: str = ""


def explain_change(
    comparisons: Sequence[Comparison], outcome: str, summaries: Mapping[str, Summary], scan: ScanResult, ranked_by: str
) -> Explanation | None:
    """The gating comparisons that have the verdict's outcome, in words. None if no pairs stand behind them."""
    decisive = [
        comparison
        for comparison in comparisons
        if not comparison.advisory
        and comparison.against == "baseline"
        and comparison.outcome == outcome
        and scan.pairs.get(comparison.metric, PairCounts()).images
    ]
    if not decisive:
        return None
    decisive.sort(key=lambda comparison: comparison.metric != ranked_by)  # the cause is known for this one
    sentences = [_count_change(comparison, summaries, scan.pairs[comparison.metric]) for comparison in decisive]
    detail = ""
    if decisive[0].metric == ranked_by:
        kinds = scan.worse_kinds if (decisive[0].difference or 0) < 0 else scan.better_kinds
        sentences[0] += _name_cause(kinds, scan.pairs, summaries)
        detail = _divide(kinds, scan.pairs[ranked_by])
    return Explanation(". ".join(sentences[:MOST_SENTENCES]) + ".", detail)


def sign_intervals(reason: str, comparisons: Sequence[Comparison]) -> str:
    """The verdict's reason, in which the interval beside a number of a worsening has the sign of that number.

    The reason says `exact_match 0.211 worse [-0.294, -0.145]`; this makes it `0.211 worse [+0.145, +0.294]`.
    """
    for comparison in comparisons:
        if comparison.low is not None and comparison.high is not None:
            written = f"worse [{comparison.low:+.3f}, {comparison.high:+.3f}]"
            reason = reason.replace(written, f"worse [{-comparison.high:+.3f}, {-comparison.low:+.3f}]")
    return reason


def name_criterion(metric: str) -> str:
    """A criterion's name in a sentence: `background` for judge_background."""
    return sanitise_name(metric.removeprefix("judge_").removeprefix("field_").replace("_", " "))


def _count_change(comparison: Comparison, summaries: Mapping[str, Summary], pairs: PairCounts) -> str:
    """For example `54 fewer of 256 captions are exact`."""
    summary, metric = summaries.get(comparison.metric), sanitise_name(comparison.metric)
    direction = summary.direction if summary else 0
    net = pairs.better - pairs.worse
    if summary and summary.unit == YES_OR_NO and direction and _counts_explain(comparison, net):
        state = STATES.get(comparison.metric)
        is_one = abs(net) == 1
        clause = f"{'is' if is_one else 'are'} {state}" if state else f"{'has' if is_one else 'have'} {metric}"
        if not net:
            return f"as many of {pairs.images:,} captions {clause} as before"
        return f"{abs(net):,} {'more' if net * direction > 0 else 'fewer'} of {pairs.images:,} captions {clause}"
    difference = comparison.difference or 0.0
    size = format_number(abs(difference), choose_decimals(comparison.baseline, comparison.candidate))
    word = "better" if difference > 0 else "worse"
    change = f"{metric} is {size} {word} on average" if difference else f"{metric} is the same on average"
    count, less, other = (
        (pairs.better, pairs.worse, "worse") if difference > 0 else (pairs.worse, pairs.better, "better")
    )
    return f"{change}: {word} in {count:,} of {pairs.images:,} captions, {other} in {less:,}"


def _counts_explain(comparison: Comparison, net: int) -> bool:
    """True if the difference is that of the counts. It is not where values lie between 0 and 1."""
    return abs((comparison.difference or 0.0) * comparison.n - net) < 0.01


def _name_cause(kinds: ImageKinds, pairs: Mapping[str, PairCounts], summaries: Mapping[str, Summary]) -> str:
    """For example `; the background is wrong in 51 more`. Empty if no criterion changed in enough of the images."""
    ranked = kinds.criterion_counts.most_common()
    most = ranked[0][1] if ranked else 0
    if most < max(2, LEAST_SHARE * kinds.counts.total()):
        return ""
    nets = {
        criterion: (pairs[criterion].better - pairs[criterion].worse) * kinds.sign
        for criterion, count in ranked
        if count >= ALIKE * most
    }
    if len(nets) > MOST_CAUSES or min(nets.values()) <= 0:
        return ""
    word, (first, net) = ("right" if kinds.sign > 0 else "wrong"), next(iter(nets.items()))
    if len(nets) > 1:
        names = [name_criterion(criterion) for criterion in nets]
        return f"; {', '.join(names[:-1])} and {names[-1]} are each {word} in at least {min(nets.values()):,} more"
    if first in STATES:
        is_more = kinds.sign * summaries[first].direction > 0
        return f"; {net:,} {'more' if is_more else 'fewer'} {'is' if net == 1 else 'are'} {STATES[first]}"
    name = name_criterion(first)
    return f"; {'“' + name + '”' if ' ' in name else 'the ' + name} is {word} in {net:,} more"


def _divide(kinds: ImageKinds, pairs: PairCounts) -> str:
    """For example `55 got worse and 1 got better. Of the 55, wrong now: background in 50, colour in 3`."""
    counted = [(name, count) for name, count in kinds.criterion_counts.most_common(MOST_CRITERIA) if count]
    worse, better = (f"{count:,}" if count else "none" for count in (pairs.worse, pairs.better))
    text = f"Of {pairs.images:,} captions, {worse} got worse and {better} got better."
    if not counted:
        return text
    total = kinds.counts.total()
    word = "wrong" if kinds.sign < 0 else "right"
    listed = ", ".join(f"{name_criterion(name)} in {count:,}" for name, count in counted)
    return f"{text} Of the {total:,}, {word} now and not before: {listed}."
