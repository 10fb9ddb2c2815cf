"""The JSON files that the stages leave: manifest, scores, verdict, record and failure."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ray_jobs.contract.spec import Baseline, Checkpoint
from ray_jobs.contract.stored_model import StoredModel
from ray_jobs.contract.suite import FrozenModel


class Part(FrozenModel):
    name: str
    rows: int
    lost: dict[str, int] = {}
    blake3: str


class Manifest(StoredModel):
    """Written last: its existence means the stage is complete. It states that `rows_in = rows_out + sum(lost)`."""

    stage: Literal["golden", "captions", "scores", "preference"]
    id: str
    rows_in: int = Field(ge=0)
    rows_out: int = Field(ge=0)
    lost: dict[str, int] = {}
    parts: tuple[Part, ...]
    seconds: dict[str, float] = {}
    versions: dict[str, str] = {}
    details: dict[str, Any] = {}
    created_at: datetime

    @property
    def swapped(self) -> bool:
        """Of captions: whether an engine that had been handed its weights made any of them, or nobody knows."""
        return bool(self.details.get("engine", {}).get("swapped", True))

    @model_validator(mode="after")
    def _nothing_is_silently_lost(self) -> Self:
        if self.rows_in != self.rows_out + sum(self.lost.values()):
            raise ValueError(f"{self.stage} {self.id}: {self.rows_in} in, {self.rows_out} out, lost {self.lost}")
        return self


class Summary(FrozenModel):
    """One metric over all scored images: mean, its standard error and a 95% interval; n counts images with a value.

    `quantiles` by their share in percent ("5": the fifth percentile); `histogram` is the counts between `edges`.
    """

    n: int
    expected: int
    mean: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    unit: str = ""
    direction: int = 0
    quantiles: dict[str, float] = {}
    edges: tuple[float, ...] = ()
    histogram: tuple[int, ...] = ()


class Scores(StoredModel):
    """`scores.json`: what the run's captions measure. `details` holds what is of the whole set: the share of each
    language, label hits by length, the judge's tokens and cost. `captions` is the manifest of the captions that were
    measured, without its parts; older files lack it."""

    run_id: str
    scale_id: str
    images: int
    scored: int
    failed: dict[str, int]
    metrics: dict[str, Summary]
    manifest: Manifest
    captions: Manifest | None = None
    details: dict[str, Any] = {}


Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INCOMPLETE"]


class Comparison(FrozenModel):
    """Candidate minus baseline over the images both have, signed so that positive is better, in the metric's unit.

    [low, high] is the interval of the difference at the gate's alpha on either side, made by `method`. `p_worse` is the
    p of "no worse than the margin allows", `p_holm` the same after Holm, `p_margin` the p of "worse than the margin or
    more": small means non-inferior. `detectable`: the true difference that FAILs with the gate's power. `decisive_n`:
    the images that would decide when this many did not. [worst_low, worst_high] bound the difference whatever the
    missing values are. `advisory` comparisons decide nothing.
    """

    metric: str
    against: Literal["baseline", "anchor"] = "baseline"
    advisory: bool = False
    outcome: Outcome
    method: str = ""
    n: int
    clusters: int | None = None
    baseline: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    margin: float
    p_worse: float | None
    p_holm: float | None = None
    p_margin: float | None = None
    detectable: float | None = None
    decisive_n: int | None = None
    worst_low: float | None = None
    worst_high: float | None = None


class LimitCheck(FrozenModel):
    """The mean of one metric against an absolute limit, with its interval at the gate's alpha on either side."""

    metric: str
    kind: Literal["max", "min"]
    limit: float
    outcome: Outcome
    method: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    p_worse: float | None = None
    p_holm: float | None = None
    decisive_n: int | None = None


class Verdict(StoredModel):
    """`verdict.json`: the run's outcome, and by `folder` where below the run its scores and report are.

    `decided_at` is set by a forced request: of several, the one that was decided last stands.
    """

    outcome: Outcome
    reason: str
    baseline: Baseline | None
    anchor: Baseline | None = None
    alpha: float
    comparisons: tuple[Comparison, ...] = ()
    limits: tuple[LimitCheck, ...] = ()
    folder: str = Field("", pattern=r"^([A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*)?$")
    decided_at: datetime | None = None


class Record(StoredModel):
    """The one JSON a run leaves: the source of truth for every index and page."""

    run_id: str
    run_uri: str
    scale_id: str
    series_id: str
    golden_id: str
    caption_id: str
    suite: str
    checkpoint: Checkpoint
    verdict: Verdict
    metrics: dict[str, Summary]
    images: dict[str, int]
    seconds: dict[str, dict[str, float]]
    versions: dict[str, str]
    published_at: datetime


class Failure(StoredModel):
    """`failure.json`: why a job failed, and whether trying again can help."""

    stage: str
    kind: Literal["bad-input", "trouble"]
    message: str
    at: datetime
