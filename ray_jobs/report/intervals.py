"""Place the intervals of comparisons in small drawings, on one scale for all metrics of a unit.

`tables` calls this, and the template draws what it returns.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ray_jobs.contract.artifacts import Comparison, Summary
from ray_jobs.report.numbers import choose_decimals, format_interval, format_number

WIDTH = 140.0  # the width of the drawing of an interval
PADDING = 1.08  # the drawing is this much wider than the widest interval


@dataclass(frozen=True)
class IntervalDrawing:
    """Positions in a drawing that is `WIDTH` wide. A difference of 0 is in its middle.

    A screen reader says the title.
    """

    low: float
    high: float
    difference: float
    margin: float
    title: str = ""


def find_reaches(comparisons: Iterable[Comparison], summaries: Mapping[str, Summary]) -> dict[str, float]:
    """The value at the right end of the drawings, by unit: enough for all intervals and margins of that unit."""
    reaches: dict[str, float] = {}
    for comparison in comparisons:
        values = [comparison.low, comparison.high, 0.0 if comparison.advisory else comparison.margin]
        reach = max(abs(value) for value in values if value is not None) * PADDING
        if math.isfinite(reach):
            unit = scale_of(comparison.metric, summaries)
            reaches[unit] = max(reach, reaches.get(unit, 0.0))
    return reaches


def scale_of(metric: str, summaries: Mapping[str, Summary]) -> str:
    """The unit whose scale the metric shares; the metric's name if it has no unit."""
    summary = summaries.get(metric)
    return summary.unit if summary and summary.unit else metric


def draw_interval(comparison: Comparison, reach: float | None) -> IntervalDrawing | None:
    """None if the comparison has no interval, or no drawing can show it."""
    if comparison.difference is None or comparison.low is None or comparison.high is None:
        return None
    margin = 0.0 if comparison.advisory else comparison.margin
    if not reach or not math.isfinite(comparison.low) or not math.isfinite(comparison.high):
        return None
    low, high, middle, edge = (
        WIDTH / 2 * (1 + value / reach) for value in (comparison.low, comparison.high, comparison.difference, -margin)
    )
    places = choose_decimals(comparison.baseline, comparison.candidate, comparison.margin)
    words = f"difference {format_number(comparison.difference, places, sign=True)}"
    words += f", interval {format_interval(comparison.low, comparison.high, places, sign=True)}"
    if margin:
        words += f", margin {format_number(margin, places)}"
    return IntervalDrawing(round(low, 1), round(high, 1), round(middle, 1), round(edge, 1), words)
