"""Build the trend: the runs of a checkpoint series, in the order in which they were published."""

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
MAX_MEAN = 1e15  # of a mean: no axis can show a larger one beside the others

log = logging.getLogger("assay")


@dataclass(frozen=True)
class TrendPoint:
    """A checkpoint's mean of one metric with its standard error; `own`: of the run that the report is about."""

    checkpoint: str
    outcome: Outcome | None
    mean: float
    error: float
    own: bool


@dataclass(frozen=True)
class TrendRun:
    """A run as the trend needs it, published or about to be."""

    checkpoint: Checkpoint
    scale_id: str
    outcome: Outcome | None
    means: dict[str, tuple[float, float | None]]


def describe_run(
    checkpoint: Checkpoint, scale_id: str, outcome: Outcome | None, metrics: dict[str, Summary]
) -> TrendRun:
    """The run that a report is made for, before it has a record."""
    means = {
        metric: (summary.mean, summary.standard_error)
        for metric, summary in metrics.items()
        if summary.mean is not None
    }
    return TrendRun(checkpoint, scale_id, outcome, means)


def build_trend(
    root: str, suite: str, series_id: str, current: TrendRun, metrics: Iterable[str]
) -> dict[str, list[TrendPoint]]:
    """By metric, at most `MOST` points, the last one for each checkpoint, this run's where it was or at the end.

    A metric whose values depend on the scale (a judge's, a model's, a suite's own) is shown for runs on this run's
    scale only.
    """
    try:
        lines = index.load_complete(root, suite).records.values()
    except Exception as error:  # a fault in other runs' files must not cost this run its verdict
        log.warning("the report's trend shows this run alone: %s", describe(error))
        lines = {}.values()
    listed = [line for line in lines if line.series_id == series_id]
    runs = {
        line.checkpoint.folder: TrendRun(line.checkpoint, line.scale_id, line.outcome, line.means)
        for line in sorted(listed, key=lambda line: line.scale_id == current.scale_id)  # on this scale, if there is one
    }
    order = list(dict.fromkeys(line.checkpoint.folder for line in listed))
    if current.checkpoint.folder not in order:
        order.append(current.checkpoint.folder)
    runs[current.checkpoint.folder] = current
    points_by_metric = {}
    for metric in metrics:
        comparable = [runs[run] for run in order if metric in METRICS or runs[run].scale_id == current.scale_id]
        points = [
            TrendPoint(sanitise_name(run.checkpoint.name), run.outcome, *_mean(run, metric), own=run is current)
            for run in comparable
            if metric in run.means and (run is current or _can_be_drawn(*run.means[metric]))
        ]
        points_by_metric[metric] = points[-MAX_POINTS:]
    return points_by_metric


def _can_be_drawn(mean: float, error: float | None) -> bool:
    """Whether a plot can show another run's value. One that cannot be shown must not cost this run its report."""
    return abs(mean) <= MAX_MEAN and 0 <= (error or 0) <= MAX_MEAN


def _mean(run: TrendRun, metric: str) -> tuple[float, float]:
    mean, error = run.means[metric]
    return mean, error or 0.0
