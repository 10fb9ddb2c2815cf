"""Draw the report's plots as inline SVG: the distribution of a metric, and its trend over the checkpoints.

`report.page` calls this module.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from ray_jobs.report.histogram import Histogram, align_bins
from ray_jobs.report.numbers import choose_decimals, format_number
from ray_jobs.report.plot import Labels, Plot, Range, nice_ticks, widen_range, write_ticks
from ray_jobs.report.trend import TrendPoint

OUTCOMES = {
    "PASS": ("pass", "circle"), "FAIL": ("fail", "cross"), "INCONCLUSIVE": ("unsure", "diamond"),
    "INCOMPLETE": ("muted", "square"),
}  # fmt: skip
TOP = 1.05  # the plot ends at this multiple of the highest share


def draw_distribution(candidate: Histogram, baseline: Histogram | None, title: str = "") -> str:
    """An SVG of the share of images by value, for candidate and baseline; empty without values of the candidate.

    A screen reader says the title.
    """
    other = baseline or Histogram()
    if not candidate.n:
        return ""
    few = candidate.distinct is not None and (not other.n or other.distinct is not None)
    return _draw_bars(title, candidate, other) if few else _draw_steps(title, candidate, other)


def draw_trend(
    points: Sequence[TrendPoint], title: str = "", baseline: float | None = None, edge: float | None = None
) -> str:
    """An SVG of the mean and 95% interval (1.96 standard errors) of each checkpoint; empty without points.

    Args:
        points: The checkpoints, the last one to the right. A point with a link leads to its report.
        title: What a screen reader says.
        baseline: The baseline's mean, for a line.
        edge: The mean at which the candidate is worse than the margin allows, for a dashed line.
    """
    if not points:
        return ""
    ends = [point.mean + side * point.error for point in points for side in (-1.96, 1.96)]
    ends += [value for value in (baseline, edge) if value is not None]
    y = widen_range(min(ends), max(ends), 0.18)
    x = (-0.5, len(points) - 0.5)
    order = sorted(range(len(points)), key=lambda place: (not points[place].is_current, -place))
    first = [order[0], len(points) - 1, 0]  # this run, and both ends
    labels = [(place, _shorten(points[place].checkpoint)) for place in dict.fromkeys([*first, *order])]
    plot = Plot(title, x, y, labels, 5, write_ticks)
    for value, dashed in ((baseline, False), (edge, True)):
        if value is not None:
            plot.draw_line([(x[0], value), (x[1], value)], "baseline", 1, dashed=dashed)
    plot.draw_line([(place, point.mean) for place, point in enumerate(points)], "line", 1.4)
    for place, point in enumerate(points):
        colour, shape = OUTCOMES.get(point.outcome or "", ("candidate", "circle"))
        described = f"{point.checkpoint}: {format_number(point.mean, choose_decimals(point.mean))}"
        with plot.group(f"{described}, {point.outcome or 'no verdict'}", "" if point.is_current else point.link):
            plot.draw_line([(place, point.mean + side * point.error) for side in (-1.96, 1.96)], colour, 1.4)
            plot.draw_marker(place, point.mean, shape, 4.5 if point.is_current else 3.5, colour)
            if point.is_current:
                plot.draw_ring(place, point.mean, 8, "ink")
    return plot.svg()


def _draw_bars(title: str, candidate: Histogram, baseline: Histogram) -> str:
    """Draw one pair of bars per value. Used when there are few different values."""
    counts: list[Counter[float]] = [histogram.distinct or Counter() for histogram in (baseline, candidate)]
    values = sorted({*counts[0], *counts[1]})
    apart = min((after - before for before, after in pairwise(values)), default=1.0)
    room = (0.7 if len(values) > 1 else 1.5) * apart
    sides = [(baseline, counts[0], -0.21, "baseline"), (candidate, counts[1], 0.21 if baseline.n else 0, "candidate")]
    highest = max(max(count.values()) / histogram.n for histogram, count, *_ in sides if histogram.n)
    ends = dict.fromkeys([values[-1], values[0], *values])
    labels = [(value, f"{value:.3g}".replace("-", "\u2212")) for value in ends]
    plot = _plot_shares(title, (values[0] - room, values[-1] + room), labels, highest)
    for histogram, count, shift, colour in sides:
        for value in values if histogram.n else ():
            plot.draw_bar(value + shift * apart, 0.38 * apart, count.get(value, 0) / histogram.n, colour)
    return plot.svg()


def _draw_steps(title: str, candidate: Histogram, baseline: Histogram) -> str:
    edges, new, old = align_bins(candidate, baseline)
    shares = [count / candidate.n for count in new], [count / (baseline.n or 1) for count in old]
    highest = max(map(max, shares))
    ticks = nice_ticks(edges[0], edges[-1], 6)
    labels = list(zip(ticks, write_ticks(ticks), strict=True))
    plot = _plot_shares(title, widen_range(edges[0], edges[-1], 0.05), labels, highest)
    plot.draw_area(_outline_steps(edges, shares[0]), "candidate")
    plot.draw_line(_outline_steps(edges, shares[0]), "candidate", 1.2)
    if baseline.n:
        plot.draw_line(_outline_steps(edges, shares[1]), "baseline", 1.4)
    for histogram, colour in ((baseline, "baseline"), (candidate, "candidate")):
        if histogram.mean is not None and math.isfinite(histogram.mean):
            plot.draw_line([(histogram.mean, 0), (histogram.mean, TOP * highest)], colour, 1, dashed=True)
    return plot.svg()


def _plot_shares(title: str, x: Range, labels: Labels, highest: float) -> Plot:
    """An empty plot of shares, from 0 to a little more than the highest share."""
    return Plot(title, x, (0, TOP * highest), labels, 4, lambda ticks: [f"{share:.0%}" for share in ticks])


def _outline_steps(edges: Sequence[float], heights: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of the steps. The outline begins and ends on the axis."""
    corners = [corner for (left, right), height in zip(pairwise(edges), heights, strict=True)
               for corner in ((left, height), (right, height))]  # fmt: skip
    return [(edges[0], 0.0), *corners, (edges[-1], 0.0)]


def _shorten(text: str) -> str:
    return text if len(text) <= 16 else f"…{text[-15:]}"
