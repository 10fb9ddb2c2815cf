"""The JSON files that the stages write: manifest, scores, verdict, record and failure.

The jobs write them on Ray, and both planes read them. The key of a field in the file is its alias, if it has one.
"""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.spec import Baseline, Checkpoint
from ray_jobs.contract.stored_model import StoredModel


class Part(FrozenModel):
    """One part of a stage's output: a Parquet file, and what the manifest says of it."""

    name: str
    """The file's name without `.parquet`, such as `part-00000`."""
    rows: int
    """The number of rows in the file."""
    lost: dict[str, int] = {}
    """The number of rows that the file lacks, by reason."""
    blake3: str
    """The BLAKE3 hash of the file, in hexadecimal digits."""


class Manifest(StoredModel):
    """The file that a stage writes last. If it exists, the stage is complete.

    A manifest is refused if its `rows_in` is not `rows_out` plus the sum of `lost`.
    """

    stage: Literal["golden", "captions", "scores", "preference"]
    """The stage that wrote it."""
    id: str
    """The id of the stage's output, which is also the name of its folder."""
    rows_in: int = Field(ge=0)
    """The number of rows that the stage read."""
    rows_out: int = Field(ge=0)
    """The number of rows that the stage wrote."""
    lost: dict[str, int] = {}
    """The number of rows that the stage lost, by reason."""
    parts: tuple[Part, ...]
    """The parts, in their order."""
    seconds: dict[str, float] = {}
    """The seconds of each step of the stage."""
    versions: dict[str, str] = {}
    """The versions of the libraries that influence the content."""
    details: dict[str, Any] = {}
    """More counts of this stage, such as the kind of engine or the rejects of each reason."""
    created_at: datetime
    """When the manifest was written."""

    @property
    def weights_swapped(self) -> bool:
        """Whether an engine with swapped weights made any of the captions. True also if the manifest does not say."""
        return bool(self.details.get("engine", {}).get("swapped", True))

    @model_validator(mode="after")
    def _check_sums(self) -> Self:
        if self.rows_in != self.rows_out + sum(self.lost.values()):
            raise ValueError(f"{self.stage} {self.id}: {self.rows_in} in, {self.rows_out} out, lost {self.lost}")
        return self


class Summary(FrozenModel):
    """One metric over all scored images, with a 95% interval of the mean."""

    n: int
    """The number of images with a value."""
    expected: int
    """The number of images that have what the metric needs."""
    mean: float | None
    """The mean of the values; null without a value."""
    standard_error: float | None
    """The standard error of the mean."""
    low: float | None
    """The lower end of the interval."""
    high: float | None
    """The upper end of the interval."""
    unit: str = ""
    """The unit of a value."""
    direction: int = 0
    """1 if more is better, -1 if less is, 0 if neither."""
    quantiles: dict[str, float] = {}
    """Values by percentile: `5` is the fifth percentile."""
    edges: tuple[float, ...] = ()
    """The edges between the bars of the histogram."""
    histogram: tuple[int, ...] = ()
    """The number of images between each two edges."""


class Scores(StoredModel):
    """`scores.json`: the metrics of a run's captions."""

    run_id: str
    """The run."""
    scoring_id: str = Field(alias="scale_id")
    """The id of metrics and judge. Runs with the same id were scored alike."""
    images: int
    """The number of golden images."""
    scored: int
    """The number of images with scores."""
    failed: dict[str, int]
    """The number of images without scores, by reason."""
    metrics: dict[str, Summary]
    """Each metric's summary, by its name."""
    manifest: Manifest
    """The manifest of the scores."""
    captions: Manifest | None = None
    """The manifest of the scored captions, without its parts. Older files lack it."""
    details: dict[str, Any] = {}
    """Figures of the whole set: the share of each language, and label hits by the length of the caption."""


Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INCOMPLETE"]


class Comparison(FrozenModel):
    """The difference of candidate and baseline in one metric, over the images that have a value in both runs.

    A positive difference means that the candidate is better. Differences are in the metric's unit.
    """

    metric: str
    """The metric."""
    against: Literal["baseline", "anchor"] = "baseline"
    """Whether the candidate is compared with the baseline or with the anchor."""
    advisory: bool = False
    """Whether the comparison only informs, because the metric does not gate."""
    outcome: Outcome
    """The outcome of this comparison alone."""
    method: str = ""
    """The test, in words."""
    n: int
    """The number of images with a value in both runs."""
    clusters: int | None = None
    """The number of clusters; null if images are not clustered."""
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
    """The largest acceptable worsening."""
    p_worse: float | None
    """The p-value of "not worse than the margin allows". A small value speaks for FAIL."""
    p_holm: float | None = None
    """The same p-value after Holm's correction over all tests that can FAIL."""
    p_margin: float | None = None
    """The p-value of "worse than the margin, or exactly at it". A small value speaks for PASS."""
    detectable: float | None = None
    """The true difference that would FAIL with the probability `power` of the gate."""
    decisive_n: int | None = None
    """The number of images that would decide, if these images did not."""
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
    """The outcome of this check alone."""
    method: str
    """The test, in words."""
    n: int
    """The number of images with a value."""
    value: float | None
    """The mean."""
    low: float | None
    """The lower end of its interval, at the gate's alpha on each side."""
    high: float | None
    """The upper end of its interval."""
    p_worse: float | None = None
    """The p-value of "within the limit". A small value speaks for FAIL."""
    p_holm: float | None = None
    """The same p-value after Holm's correction over all tests that can FAIL."""
    decisive_n: int | None = None
    """The number of images that would decide, if these images did not."""


class Verdict(StoredModel):
    """`verdict.json`: the outcome of a run, with all comparisons and limits behind it."""

    outcome: Outcome
    """PASS, FAIL, INCONCLUSIVE or INCOMPLETE."""
    reason: str
    """Why, in one line."""
    baseline: Baseline | None
    """The run that the candidate was compared with; null for a first run."""
    anchor: Baseline | None = None
    """The second, fixed baseline; null if the suite has none."""
    alpha: float
    """The false-alarm rate of the whole verdict."""
    comparisons: tuple[Comparison, ...] = ()
    """Every comparison of a metric."""
    limits: tuple[LimitCheck, ...] = ()
    """Every check of an absolute limit."""
    folder: str = Field("", pattern=r"^([A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*)?$")
    """The folder below the run with its scores and its report; empty if they are in the run's own folder."""
    decided_at: datetime | None = None
    """When a forced run was decided. The latest verdict of several counts."""


class Record(StoredModel):
    """`record.json`: everything about a published run. Every index and page is made from records."""

    run_id: str
    """The run."""
    run_uri: str
    """The run's folder."""
    scoring_id: str = Field(alias="scale_id")
    """The id of metrics and judge. Runs with the same id were scored alike."""
    series_id: str
    """The id of images, prompt and engine settings. Runs with the same id can be compared."""
    golden_id: str
    """The id of the golden set."""
    caption_id: str
    """The id of the captions."""
    suite: str
    """The name of the suite."""
    checkpoint: Checkpoint
    """The checkpoint."""
    verdict: Verdict
    """The verdict."""
    metrics: dict[str, Summary]
    """Each metric's summary, by its name."""
    images: dict[str, int]
    """The number of images that were read, rejected, captioned, failed and scored."""
    seconds: dict[str, dict[str, float]]
    """The seconds of each step, by stage."""
    versions: dict[str, str]
    """The versions of the libraries that made the captions."""
    published_at: datetime
    """When the run was published. The runs of a series are in this order."""


class Failure(StoredModel):
    """`failure.json`: why a job failed, and whether a retry can help."""

    stage: str
    """The stage whose job failed."""
    kind: Literal["bad-input", "trouble"]
    """`bad-input`: a person must change something. `trouble`: the job may succeed later."""
    message: str
    """The job's last line."""
    at: datetime
    """When the job failed."""
