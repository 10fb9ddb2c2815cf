"""Build the trend: the runs of a checkpoint series, in the order in which they were published.

`report.page` calls this.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

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
    """A checkpoint's mean of one metric with its standard error. `is_current`: it belongs to the run of this report.

    `link` leads to the report of the point's run; empty if there is none.
    """

    checkpoint: str
    outcome: Outcome | None
    mean: float
    error: float
    is_current: bool
    link: str = field(default="", compare=False)


@dataclass(frozen=True)
class TrendRun:
    """A run as the trend needs it. The run is published, or the report is about it, and then its `run_id` is empty."""

    checkpoint: Checkpoint
    scoring_id: str
    outcome: Outcome | None
    means: dict[str, tuple[float, float | None]]
    run_id: str = ""

    @property
    def path(self) -> str:
        """`checkpoint_folder/run_id`; empty for the run that the report is about."""
        return f"{self.checkpoint.folder}/{self.run_id}" if self.run_id else ""


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
    """For each metric at most `MAX_POINTS` points, one per checkpoint. A new checkpoint's point is the last one."""
    return build_points(list_runs(root, suite, series_id, current), current, metrics)


def list_runs(root: str, suite: str, series_id: str, current: TrendRun) -> list[TrendRun]:
    """The series: one run per checkpoint in the order of publication, with the current run among them."""
    try:
        lines = index.load_complete(root, suite).records.values()
    except Exception as error:  # a fault in other runs' files must not cost this run its verdict
        log.warning("the report's trend shows this run alone: %s", describe(error))
        lines = {}.values()
    listed = [line for line in lines if line.series_id == series_id]
    runs = {
        line.checkpoint.folder: TrendRun(line.checkpoint, line.scoring_id, line.outcome, line.means, line.run_id)
        # The last run of a checkpoint wins, so runs with this scoring id come last.
        for line in sorted(listed, key=lambda line: line.scoring_id == current.scoring_id)
    }
    runs[current.checkpoint.folder] = current
    order = dict.fromkeys([*(line.checkpoint.folder for line in listed), current.checkpoint.folder])
    return [runs[folder] for folder in order]


def build_points(
    runs: Sequence[TrendRun],
    current: TrendRun,
    metrics: Iterable[str],
    link_to: Callable[[TrendRun], str] = lambda run: "",
) -> dict[str, list[TrendPoint]]:
    """The points of `list_runs` for each metric. `link_to` makes the link of a run.

    Some metrics depend on the scoring id: the metrics of a judge, of a model, and a suite's own metrics. Their points
    are only of runs with this run's scoring id.
    """
    points_by_metric = {}
    for metric in metrics:
        comparable = [run for run in runs if metric in METRICS or run.scoring_id == current.scoring_id]
        points = [
            TrendPoint(
                sanitise_name(run.checkpoint.name), run.outcome, *_mean(run, metric), run is current, link_to(run)
            )
            for run in comparable
            if metric in run.means and (run is current or _can_be_drawn(*run.means[metric]))
        ]
        points_by_metric[metric] = points[-MAX_POINTS:]
    return points_by_metric


def find_neighbours(runs: Sequence[TrendRun], current: TrendRun) -> dict[str, TrendRun]:
    """The runs beside the current one in the series: `previous` and `next`, where they exist."""
    place = next(place for place, run in enumerate(runs) if run is current)
    before, after = runs[max(0, place - 1) : place], runs[place + 1 : place + 2]
    return {role: run for role, beside in (("previous", before), ("next", after)) for run in beside}


def _can_be_drawn(mean: float, error: float | None) -> bool:
    """True if a plot can show another run's value. Another run's value must not cost this run its report."""
    return abs(mean) <= MAX_MEAN and 0 <= (error or 0) <= MAX_MEAN


def _mean(run: TrendRun, metric: str) -> tuple[float, float]:
    mean, error = run.means[metric]
    return mean, error or 0.0
