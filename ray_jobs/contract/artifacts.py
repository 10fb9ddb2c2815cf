"""The JSON files that the stages leave: manifest, scores, verdict, record and failure."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.spec import Baseline, Checkpoint
from ray_jobs.contract.stored_model import StoredModel


class Part(FrozenModel):
    """One part of a stage, as its manifest states it."""

    name: str
    """`part-00000` and so on: the file's name without `.parquet`."""
    rows: int
    """The rows that are in the file."""
    lost: dict[str, int] = {}
    """The rows that are missing from it, by reason."""
    blake3: str
    """The BLAKE3 hash of the file, in hexadecimal digits."""


class Manifest(StoredModel):
    """What a stage writes last: if it exists, the stage is complete.

    A manifest whose `rows_in` is not `rows_out` plus the sum of `lost` is refused.
    """

    stage: Literal["golden", "captions", "scores", "preference"]
    """Which stage wrote it."""
    id: str
    """The id of what the stage made; it is also the folder's name."""
    rows_in: int = Field(ge=0)
    """The rows that the stage read."""
    rows_out: int = Field(ge=0)
    """The rows that the stage wrote."""
    lost: dict[str, int] = {}
    """The rows that the stage lost, by reason."""
    parts: tuple[Part, ...]
    """The parts, in their order."""
    seconds: dict[str, float] = {}
    """The seconds of each step of the stage."""
    versions: dict[str, str] = {}
    """The versions of the libraries that decide the content."""
    details: dict[str, Any] = {}
    """More counts of this stage, such as the kind of engine or the rejects of each reason."""
    created_at: datetime
    """When the manifest was written."""

    @property
    def swapped(self) -> bool:
        """Of captions: whether an engine that had been handed its weights made any of them, or nobody knows."""
        return bool(self.details.get("engine", {}).get("swapped", True))

    @model_validator(mode="after")
    def _check_sums(self) -> Self:
        if self.rows_in != self.rows_out + sum(self.lost.values()):
            raise ValueError(f"{self.stage} {self.id}: {self.rows_in} in, {self.rows_out} out, lost {self.lost}")
        return self


class Summary(FrozenModel):
    """One metric over all scored images, with a 95% interval of the mean."""

    n: int
    """The images that have a value."""
    expected: int
    """The images that have what the metric needs."""
    mean: float | None
    """The mean of the values; null where there is none."""
    standard_error: float | None
    """The standard error of the mean."""
    low: float | None
    """The lower end of the interval."""
    high: float | None
    """The upper end of the interval."""
    unit: str = ""
    """What a value counts."""
    direction: int = 0
    """1 if more is better, -1 if less is, 0 if neither."""
    quantiles: dict[str, float] = {}
    """Values by percentile: `5` is the fifth percentile."""
    edges: tuple[float, ...] = ()
    """The edges between the bars of the histogram."""
    histogram: tuple[int, ...] = ()
    """The number of images between each two edges."""


class Scores(StoredModel):
    """`scores.json`: what was measured of a run's captions."""

    run_id: str
    """The run."""
    scale_id: str
    """The id of metrics and judge: runs with the same one were measured alike."""
    images: int
    """The golden images."""
    scored: int
    """The images that have scores."""
    failed: dict[str, int]
    """The images without scores, by reason."""
    metrics: dict[str, Summary]
    """Each metric's summary, by its name."""
    manifest: Manifest
    """The manifest of the scores."""
    captions: Manifest | None = None
    """The manifest of the captions that were measured, without its parts. Older files lack it."""
    details: dict[str, Any] = {}
    """What concerns the whole set: the share of each language, and label hits by the length of the caption."""


Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INCOMPLETE"]


class Comparison(FrozenModel):
    """Candidate minus baseline over the images that both have, positive where the candidate is better.

    Differences are in the metric's unit.
    """

    metric: str
    """The metric."""
    against: Literal["baseline", "anchor"] = "baseline"
    """Whether the baseline or the anchor is compared."""
    advisory: bool = False
    """The comparison only informs: the metric does not gate."""
    outcome: Outcome
    """What this comparison alone says."""
    method: str = ""
    """The test, in words."""
    n: int
    """The images that have a value in both runs."""
    clusters: int | None = None
    """The number of clusters, where images are clustered."""
    baseline: float | None
    """The mean of the baseline or anchor over these images."""
    candidate: float | None
    """The mean of the candidate over these images."""
    difference: float | None
    """The mean signed difference."""
    low: float | None
    """The lower end of its interval, at the gate's alpha on each side."""
    high: float | None
    """The upper end of its interval."""
    margin: float
    """The worsening that is still acceptable."""
    p_worse: float | None
    """The p-value of "not worse than the margin allows": a small one speaks for FAIL."""
    p_holm: float | None = None
    """The same after Holm's correction over everything that can FAIL."""
    p_margin: float | None = None
    """The p-value of "worse than the margin, or exactly at it": a small one speaks for PASS."""
    detectable: float | None = None
    """The true difference that would FAIL with the gate's `power`."""
    decisive_n: int | None = None
    """How many images would decide, where this many did not."""
    worst_low: float | None = None
    """The difference if every missing value were as bad as the metric's range allows."""
    worst_high: float | None = None
    """The difference if every missing value were as good as the metric's range allows."""


class LimitCheck(FrozenModel):
    """The mean of one metric against an absolute limit."""

    metric: str
    """The metric."""
    kind: Literal["max", "min"]
    """Whether the mean may be at most or must be at least the limit."""
    limit: float
    """The limit."""
    outcome: Outcome
    """What this check alone says."""
    method: str
    """The test, in words."""
    n: int
    """The images that have a value."""
    value: float | None
    """The mean."""
    low: float | None
    """The lower end of its interval, at the gate's alpha on each side."""
    high: float | None
    """The upper end of its interval."""
    p_worse: float | None = None
    """The p-value of "within the limit": a small one speaks for FAIL."""
    p_holm: float | None = None
    """The same after Holm's correction over everything that can FAIL."""
    decisive_n: int | None = None
    """How many images would decide, where this many did not."""


class Verdict(StoredModel):
    """`verdict.json`: the outcome of a run, with everything that it rests on."""

    outcome: Outcome
    """PASS, FAIL, INCONCLUSIVE or INCOMPLETE."""
    reason: str
    """Why, in one line."""
    baseline: Baseline | None
    """The run that was compared; null for a first run."""
    anchor: Baseline | None = None
    """The second, fixed baseline, where the suite has one."""
    alpha: float
    """The false-alarm rate of the whole verdict."""
    comparisons: tuple[Comparison, ...] = ()
    """Every comparison of a metric."""
    limits: tuple[LimitCheck, ...] = ()
    """Every check of an absolute limit."""
    folder: str = Field("", pattern=r"^([A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*)?$")
    """The folder below the run that holds its scores and its report; empty for the run's own folder."""
    decided_at: datetime | None = None
    """When a forced run was decided; of several, the latest stands."""


class Record(StoredModel):
    """`record.json`, the one JSON that a run leaves: the source of every index and page."""

    run_id: str
    """The run."""
    run_uri: str
    """The run's folder."""
    scale_id: str
    """The id of metrics and judge: runs with the same one were measured alike."""
    series_id: str
    """The id of images, prompt and engine settings: runs with the same one can be compared."""
    golden_id: str
    """The golden set."""
    caption_id: str
    """The captions."""
    suite: str
    """The name of the suite."""
    checkpoint: Checkpoint
    """The checkpoint."""
    verdict: Verdict
    """The verdict."""
    metrics: dict[str, Summary]
    """Each metric's summary, by its name."""
    images: dict[str, int]
    """How many images were read, rejected, captioned, failed and scored."""
    seconds: dict[str, dict[str, float]]
    """The seconds of each step, by stage."""
    versions: dict[str, str]
    """The versions of the libraries that made the captions."""
    published_at: datetime
    """When the run was published; it orders the series."""


class Failure(StoredModel):
    """`failure.json`: why a job failed, and whether trying again can help."""

    stage: str
    """The stage whose job failed."""
    kind: Literal["bad-input", "trouble"]
    """`bad-input`: a person must change something. `trouble`: the job may succeed later."""
    message: str
    """The job's last line."""
    at: datetime
    """When the job failed."""
