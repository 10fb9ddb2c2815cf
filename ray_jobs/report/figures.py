"""Make the figures of a page with their captions: the distributions, and the trends over the series.

`report.page` calls this.
"""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from ray_jobs.contract.artifacts import Comparison, Summary
from ray_jobs.inputs.display_text import sanitise_name
from ray_jobs.report import numbers, plots, tables
from ray_jobs.report import trend as series
from ray_jobs.report.links import path_of_report
from ray_jobs.report.page_context import PageContext
from ray_jobs.report.rank_images import ScanResult


def draw_distributions(scan: ScanResult, summaries: Mapping[str, Summary]) -> list[tuple[str, str, str, Markup]]:
    """(metric, unit, means in words, SVG) for each metric with values."""
    distributions = []
    for metric, candidate in scan.candidate.items():
        baseline = scan.baseline.get(metric)
        words = f"mean {_format_mean(candidate.mean)}"
        if baseline is not None and baseline.n:
            words += f", of the baseline {_format_mean(baseline.mean)}"
        svg = plots.draw_distribution(candidate, baseline, f"Distribution of {sanitise_name(metric)}: {words}")
        if svg:
            distributions.append((sanitise_name(metric), _unit(summaries, metric), words, Markup(svg)))  # noqa: S704
    return distributions


def draw_trends(
    context: PageContext, runs: Sequence[series.TrendRun], first: Sequence[str]
) -> list[tuple[str, str, list[series.TrendPoint], Markup, bool]]:
    """(metric, unit, points, SVG, whether it is shown without unfolding) for each metric with points.

    A metric that is not among `first` needs two checkpoints.
    """
    summaries = context.summaries
    compared = {row.metric: row for row in context.comparisons if row.against == "baseline"}
    order = list(dict.fromkeys([*first, *summaries]))
    points_by_metric = series.build_points(
        runs,
        context.current_run,
        order,
        lambda run: context.links.to_file(path_of_report(run.path)) if run.path else "",
    )
    trends = []
    for metric, points in points_by_metric.items():
        if not points or (metric not in first and len(points) < 2):
            continue
        baseline, edge = _find_lines(compared.get(metric), tables.direction_of(metric, summaries[metric]))
        title = f"Trend of {sanitise_name(metric)} over {len(points)} checkpoints; the last is {points[-1].checkpoint}"
        svg = Markup(plots.draw_trend(points, title, baseline, edge))  # noqa: S704
        trends.append((sanitise_name(metric), _unit(summaries, metric), points, svg, metric in first))
    return trends


def _find_lines(comparison: Comparison | None, direction: int) -> tuple[float | None, float | None]:
    """The baseline's mean, and the mean at which the candidate is worse by the margin; None where there is none."""
    if comparison is None or comparison.baseline is None:
        return None, None
    if comparison.advisory or not direction:
        return comparison.baseline, None
    return comparison.baseline, comparison.baseline - direction * comparison.margin


def _format_mean(value: float | None) -> str:
    return numbers.format_number(value, numbers.choose_decimals(value))


def _unit(summaries: Mapping[str, Summary], metric: str) -> str:
    return tables.unit_of(metric, summaries.get(metric))
