"""Decide the verdict from all comparisons and limits, and say why in one sentence.

`gate.run` calls this in the driver of `evaluate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from ray_jobs.contract.artifacts import Comparison, LimitCheck, Outcome, Scores, Verdict
from ray_jobs.contract.sections.gate import Gate
from ray_jobs.contract.spec import Baseline
from ray_jobs.gate.accumulator import Sample
from ray_jobs.gate.completeness import count_expected_values, why_incomplete
from ray_jobs.gate.holm import adjust_p_values
from ray_jobs.gate.limits import check_limit
from ray_jobs.gate.no_baseline import FIRST_OF_SERIES, NoBaseline
from ray_jobs.gate.non_inferiority import compare_metric
from ray_jobs.gate.paired_differences import GateMetric, PairedDifferences
from ray_jobs.gate.reasons import describe_comparison, describe_limit

Result = TypeVar("Result", Comparison, LimitCheck)


@dataclass(frozen=True)
class ComparisonSide:
    """A run that the candidate is compared with, and the paired differences of each metric."""

    against: Literal["baseline", "anchor"]
    run: Baseline
    pairs: Mapping[str, PairedDifferences]

    @property
    def name(self) -> str:
        return f"{'anchor ' if self.against == 'anchor' else ''}{self.run.checkpoint.name}"


def decide_verdict(
    gate: Gate,
    scores: Scores,
    metrics: Mapping[str, GateMetric],
    sides: Sequence[ComparisonSide] = (),
    limited: Mapping[str, Sample] | None = None,
    no_baseline: NoBaseline = FIRST_OF_SERIES,
) -> Verdict:
    """The verdict on a run.

    INCOMPLETE comes first: when too many scores are missing, the gate concludes nothing. PASS needs every gating
    comparison and limit to pass at alpha. This is an intersection-union test, whose error is alpha without a correction
    (Berger 1982, Technometrics 24:295). FAIL needs one failure after Holm's correction over all of them. So a run that
    is nowhere worse than allowed falsely FAILs with probability at most alpha.

    Args:
        limited: The run's values of each metric with an absolute limit.
        no_baseline: The reason for the verdict if the run has no baseline.
    """
    limited = limited or {}
    bounds = _list_limits(gate)
    tests = len(bounds) + sum(name in gate.metrics for side in sides for name in side.pairs)
    comparisons = [result for side in sides for result in _compare_side(gate, scores, metrics, side, tests)]
    limits = [
        check_limit(metrics[name], limited[name], kind, bound, gate.alpha, family=tests, power=gate.power)
        for name, kind, bound in bounds
    ]
    comparisons, limits = _apply_holm(comparisons, limits, gate.alpha)
    outcome: Outcome = "INCOMPLETE"
    if reason := why_incomplete(gate, scores, metrics, limited, comparisons):
        comparisons = [
            result if result.advisory else result.model_copy(update={"outcome": outcome}) for result in comparisons
        ]
        limits = [result.model_copy(update={"outcome": outcome}) for result in limits]
    else:
        outcome, reason = _conclude(comparisons, limits, sides, no_baseline)
    runs = {side.against: side.run for side in sides}
    return Verdict(
        outcome=outcome,
        reason=reason,
        baseline=runs.get("baseline"),
        anchor=runs.get("anchor"),
        alpha=gate.alpha,
        comparisons=tuple(comparisons),
        limits=tuple(limits),
    )


def _list_limits(gate: Gate) -> list[tuple[str, Literal["max", "min"], float]]:
    """Every absolute limit: (metric, max or min, bound)."""
    bounds: list[tuple[str, Literal["max", "min"], float]] = []
    for name, limit in gate.limits.items():
        bounds += [(name, "max", limit.max)] if limit.max is not None else []
        bounds += [(name, "min", limit.min)] if limit.min is not None else []
    return bounds


def _compare_side(
    gate: Gate, scores: Scores, metrics: Mapping[str, GateMetric], side: ComparisonSide, tests: int
) -> list[Comparison]:
    """The comparisons of the gating metrics in the suite's order, then advisory ones of the others with a direction."""
    gating = [name for name in gate.metrics if name in side.pairs]
    comparisons = []
    for name in [*gating, *(name for name in side.pairs if name not in gating and metrics[name].direction)]:
        expected_images = count_expected_values(scores, name)
        if name in gating:
            margin = gate.metrics[name].margin
            comparison = compare_metric(
                metrics[name],
                side.pairs[name],
                margin,
                gate.alpha,
                family=tests,
                power=gate.power,
                expected=expected_images,
                against=side.against,
            )
        else:
            comparison = compare_metric(
                metrics[name], side.pairs[name], expected=expected_images, against=side.against, advisory=True
            )
        comparisons.append(comparison)
    return comparisons


def _apply_holm(
    comparisons: Sequence[Comparison], limits: Sequence[LimitCheck], alpha: float
) -> tuple[list[Comparison], list[LimitCheck]]:
    """The same results, with p adjusted by Holm over all results that can FAIL, and the outcome that follows."""
    family = [result.p_worse for result in comparisons if not result.advisory] + [result.p_worse for result in limits]
    adjusted = iter(adjust_p_values([1.0 if p is None else p for p in family]))
    return (
        [result if result.advisory else _decide_outcome(result, next(adjusted), alpha) for result in comparisons],
        [_decide_outcome(result, next(adjusted), alpha) for result in limits],
    )


def _decide_outcome(result: Result, p: float, alpha: float) -> Result:
    if result.p_worse is None:
        return result
    outcome: Outcome = "PASS" if result.outcome == "PASS" else "FAIL" if p <= alpha else "INCONCLUSIVE"
    needed = result.decisive_n if outcome == "INCONCLUSIVE" else None
    return result.model_copy(update={"p_holm": p, "outcome": outcome, "decisive_n": needed})


def _conclude(
    comparisons: Sequence[Comparison],
    limits: Sequence[LimitCheck],
    sides: Sequence[ComparisonSide],
    no_baseline: NoBaseline,
) -> tuple[Outcome, str]:
    gating = [result for result in comparisons if not result.advisory]
    outcomes = {result.outcome for result in gating} | {result.outcome for result in limits}
    if no_baseline.is_lost:
        outcomes.add("INCONCLUSIVE")
    outcome: Outcome = "FAIL" if "FAIL" in outcomes else "INCONCLUSIVE" if "INCONCLUSIVE" in outcomes else "PASS"
    sentences = [no_baseline.reason] if no_baseline.is_lost and outcome == "INCONCLUSIVE" else []
    for side in sides:
        of_side = [
            describe_comparison(result)
            for result in gating
            if result.against == side.against and result.outcome == outcome
        ]
        if of_side:
            sentences.append(f"{'; '.join(of_side)}; against {side.name}")
    within = [describe_limit(result) for result in limits if result.outcome == outcome]
    if not sides and outcome == "PASS":
        sentences.append(no_baseline.reason)
    elif not gating and outcome == "PASS":
        sentences.append(f"the suite gates on no metric; against {' and '.join(side.name for side in sides)}")
    return outcome, "; ".join([*sentences, *within])
