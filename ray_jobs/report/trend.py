"""The trend: the runs of a checkpoint series, in the order in which they were published."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from ray_jobs.contract.artifacts import Outcome, Summary
from ray_jobs.contract.metric_names import METRICS
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.display_text import name
from ray_jobs.storage import index
from ray_jobs.storage.odd_items import describe

MAX_POINTS = 40
MAX_MEAN = 1e15  # of a mean: more is no measurement, and no axis can show it beside the others

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
    means = {metric: (one.mean, one.standard_error) for metric, one in metrics.items() if one.mean is not None}
    return TrendRun(checkpoint, scale_id, outcome, means)


def build_trend(
    root: str, suite: str, series_id: str, own: TrendRun, metrics: Iterable[str]
) -> dict[str, list[TrendPoint]]:
    """By metric, at most `MOST` points, the last one for each checkpoint, this run's where it was or at the end.

    A metric whose values depend on the scale (a judge's, a model's, a suite's own) is shown for runs on this run's
    scale only.
    """
    try:
        lines = index.whole(root, suite).records.values()
    except Exception as error:  # of what other runs left: no reason for this one to have no verdict
        log.warning("the report's trend shows this run alone: %s", describe(error))
        lines = {}.values()
    listed = [line for line in lines if line.series_id == series_id]
    runs = {
        line.checkpoint.folder: TrendRun(line.checkpoint, line.scale_id, line.outcome, line.means)
        for line in sorted(listed, key=lambda line: line.scale_id == own.scale_id)  # on this scale, if there is one
    }
    order = list(dict.fromkeys(line.checkpoint.folder for line in listed))
    if own.checkpoint.folder not in order:
        order.append(own.checkpoint.folder)
    runs[own.checkpoint.folder] = own
    made = {}
    for metric in metrics:
        alike = [runs[one] for one in order if metric in METRICS or runs[one].scale_id == own.scale_id]
        points = [
            TrendPoint(name(one.checkpoint.name), one.outcome, *_mean(one, metric), own=one is own)
            for one in alike
            if metric in one.means and (one is own or _can_be_drawn(*one.means[metric]))
        ]
        made[metric] = points[-MAX_POINTS:]
    return made


def _can_be_drawn(mean: float, error: float | None) -> bool:
    """Whether another run's value has a place in a plot: one that has none must not cost this run its report."""
    return abs(mean) <= MAX_MEAN and 0 <= (error or 0) <= MAX_MEAN


def _mean(one: TrendRun, metric: str) -> tuple[float, float]:
    mean, error = one.means[metric]
    return mean, error or 0.0
