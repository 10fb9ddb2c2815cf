"""The section `gate` of a suite: the baseline, the metrics that decide, their margins and limits."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ray_jobs.contract.suite_section import SuiteSection


class GatingMetric(SuiteSection):
    """The settings of a metric that decides the verdict."""

    IDENTIFYING: ClassVar = frozenset(("margin",))

    margin: float = Field(ge=0)
    """The largest acceptable worsening, in the metric's own unit."""


class Limit(SuiteSection):
    """The range that a metric's mean must stay in, whatever the baseline's mean is."""

    IDENTIFYING: ClassVar = frozenset(("max", "min"))

    max: float | None = None
    """The metric's mean must not be above it."""
    min: float | None = None
    """The metric's mean must not be below it."""

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("needs `max` or `min`")
        return self


class Gate(SuiteSection):
    """How scores become a verdict."""

    IDENTIFYING: ClassVar = frozenset(("alpha", "coverage", "power", "cluster", "metrics", "limits"))
    ELSEWHERE: ClassVar = {
        "baseline": "the run that it names counts",
        "anchor": "the run that it names counts",
        "ask": "who accepts a run does not change what is measured",
    }

    baseline: str = "last-accepted"
    """What each run is compared with: `last-accepted`, `previous`, `none`, or the URI of a checkpoint or run."""
    anchor: str | None = None
    """A second, fixed baseline: `first`, or a URI. Small losses of many nights cannot add up unseen."""
    ask: tuple[Literal["PASS", "FAIL", "INCONCLUSIVE"], ...] = ()
    """The outcomes about which a person is asked in Airflow. With `PASS`, no run is accepted without a person."""
    alpha: float = Field(0.0027, gt=0, lt=0.5)
    """The false-alarm rate of the whole verdict. 0.0027 is one false alarm per year of nights."""
    coverage: float = Field(0.999, gt=0, le=1)
    """The share of images that must have a score. With less, the verdict is INCOMPLETE."""
    power: float = Field(0.8, gt=0.5, lt=1)
    """The power that announced sample sizes and detectable differences are computed for."""
    cluster: Literal["none", "label", "source"] = "none"
    """Images of one `label`, or of one `source` folder, are not independent of each other."""
    metrics: dict[str, GatingMetric] = {}
    """The metrics that decide, each with its `margin`."""
    limits: dict[str, Limit] = {}
    """Absolute limits on a metric's mean, whatever the baseline's mean is."""
