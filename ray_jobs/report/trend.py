"""Build the trend: the runs of a checkpoint series, in the order in which they were published.

`report.page` calls this.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from ray_jobs.contract.artifacts import Outcome, Summary
from ray_jobs.contract.metric_names import METRICS
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.display_text import sanitise_name
from ray_jobs.storage import index
from ray_jobs.storage.odd_items import describe

MAX_POINTS = 40
MAX_MEAN = 1e15  # no axis can show a larger mean beside the other means

log = logging.getLogger("assay")


@dataclass(frozen=True)
class TrendPoint:
    """A checkpoint's mean of one metric with its standard error. `is_current`: it belongs to the run of this report."""

    checkpoint: str
    outcome: Outcome | None
    mean: float
    error: float
    is_current: bool


@dataclass(frozen=True)
class TrendRun:
    """A run as the trend needs it. The run is published, or the report is about it."""

    checkpoint: Checkpoint
    scoring_id: str
    outcome: Outcome | None
    means: dict[str, tuple[float, float | None]]


def describe_run(
    checkpoint: Checkpoint, scoring_id: str, outcome: Outcome | None, metrics: dict[str, Summary]
) -> TrendRun:
    """The run that the report is about, which has no record yet."""
    means = {
        metric: (summary.mean, summary.standard_error)
        for metric, summary in metrics.items()
        if summary.mean is not None
    }
    return TrendRun(checkpoint, scoring_id, outcome, means)


def build_trend(
    root: str, suite: str, series_id: str, current: TrendRun, metrics: Iterable[str]
) -> dict[str, list[TrendPoint]]:
    """For each metric at most `MAX_POINTS` points, one per checkpoint. A new checkpoint's point is the last one.

    Some metrics depend on the scoring id: the metrics of a judge, of a model, and a suite's own metrics. Their points
    are only of runs with this run's scoring id.
    """
    try:
        lines = index.load_complete(root, suite).records.values()
    except Exception as error:  # a fault in other runs' files must not cost this run its verdict
        log.warning("the report's trend shows this run alone: %s", describe(error))
        lines = {}.values()
    listed = [line for line in lines if line.series_id == series_id]
    runs = {
        line.checkpoint.folder: TrendRun(line.checkpoint, line.scoring_id, line.outcome, line.means)
        # The last run of a checkpoint wins, so runs with this scoring id come last.
        for line in sorted(listed, key=lambda line: line.scoring_id == current.scoring_id)
    }
    order = list(dict.fromkeys(line.checkpoint.folder for line in listed))
    if current.checkpoint.folder not in order:
        order.append(current.checkpoint.folder)
    runs[current.checkpoint.folder] = current
    points_by_metric = {}
    for metric in metrics:
        comparable = [runs[run] for run in order if metric in METRICS or runs[run].scoring_id == current.scoring_id]
        points = [
            TrendPoint(sanitise_name(run.checkpoint.name), run.outcome, *_mean(run, metric), is_current=run is current)
            for run in comparable
            if metric in run.means and (run is current or _can_be_drawn(*run.means[metric]))
        ]
        points_by_metric[metric] = points[-MAX_POINTS:]
    return points_by_metric


def _can_be_drawn(mean: float, error: float | None) -> bool:
    """True if a plot can show another run's value. Another run's value must not cost this run its report."""
    return abs(mean) <= MAX_MEAN and 0 <= (error or 0) <= MAX_MEAN


def _mean(run: TrendRun, metric: str) -> tuple[float, float]:
    mean, error = run.means[metric]
    return mean, error or 0.0
