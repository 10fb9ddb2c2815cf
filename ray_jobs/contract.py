"""What the stages agree on: spec, manifest, scores, verdict and record, and the ids that name their outputs.

Imported by both planes, so only pydantic and the standard library. Every id is a hash of exactly what determines the
content it names: change the prompt and the captions get a new home while the golden set stays where it is.
"""

import hashlib
import json
import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from ray_jobs.errors import BadInput, Trouble, nearest
from ray_jobs.identity import Identified
from ray_jobs.schema import NewerSchema, StoredModel
from ray_jobs.suite import (
    METRICS,
    Caption,
    Dataset,
    Engine,
    Frozen,
    Gate,
    Judge,
    Metrics,
    Preprocess,
    Suite,
    parse_suite,
)

__all__ = [
    "METRICS", "BadInput", "Baseline", "Caption", "Checkpoint", "Comparison", "Dataset", "Engine", "Failure", "Gate",
    "Judge", "LimitCheck", "Manifest", "Metrics", "NewerSchema", "Outcome", "Part", "Predecessor", "Preprocess",
    "Record", "Scores", "Spec", "Suite", "Summary", "Trouble", "Verdict", "digest", "forced_folder", "name_of",
    "nearest", "parse_suite", "slug",
]  # fmt: skip

# Raise one of these when the code of a stage changes what it writes for the same settings: its outputs get new ids.
PREPROCESS_VERSION, CAPTION_VERSION, JUDGE_VERSION, EVALUATE_VERSION = 3, 3, 2, 2


class Checkpoint(Frozen):
    """`fingerprint` is a hash of the weights, so a checkpoint overwritten in place is another checkpoint.

    Of a LoRA adapter it covers its `base` too, the model that it changes. `files` has a hash of each file that is
    loaded, by name, in a spec: what was overwritten since is named by it. Empty in records, and in specs of before.
    """

    uri: str
    name: str
    fingerprint: str
    base: "Checkpoint | None" = None
    files: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> str:
        return f"{slug(self.name)}-{self.fingerprint[:8]}"


class Baseline(Frozen):
    """A published run whose captions the candidate's are compared with."""

    run_id: str
    run_uri: str
    caption_id: str
    checkpoint: Checkpoint


class Predecessor(Identified, Frozen):
    """The last accepted run of the series that a suite had before the spec's own, which has accepted nothing yet. Where
    the spec misses its anchor only: the first accepted run.

    `changed` names the settings in which the spec differs from that series. It is empty where only Assay's own versions
    differ, and where that series' specs cannot be read: then `checkpoint` is None.
    """

    IDENTIFYING: ClassVar = frozenset(("run_id", "changed"))
    ELSEWHERE: ClassVar = {"run_uri": "the run's id holds what determines it", "checkpoint": "the run's id holds it"}

    run_id: str
    run_uri: str
    checkpoint: Checkpoint | None
    changed: tuple[str, ...] = ()


class Spec(Identified, StoredModel):
    """Everything a job needs, resolved once by `plan`. `force` names the request that wants the captions made anew.

    `following` is the URI of the checkpoint that will be validated next, if any: it may be fetched meanwhile.
    `content_id` hashes what the files of a local source hold; `same_golden` is the golden set that was made of the same
    content at another place. `own_metrics` is the source code of the suite's own metrics by name, `synonyms` the
    further names of each label.
    """

    ELSEWHERE: ClassVar = {
        "schema_version": "how the file is read",
        "root": "where things are kept",
        "force": "the spec's name holds it",
        "following": "a hint about another run",
        "content_id": "where a golden set of the same content is noted",
        "same_golden": "it is the golden id",
        **dict.fromkeys(
            (
                "suite",
                "checkpoint",
                "judge",
                "clip",
                "own_metrics",
                "synonyms",
                "source_revision",
                "baseline",
                "anchor",
            ),
            "named in the ids below",
        ),
    }

    root: str
    suite: Suite
    checkpoint: Checkpoint
    judge: Checkpoint | None = None
    clip: Checkpoint | None = None
    own_metrics: dict[str, str] = {}
    synonyms: dict[str, tuple[str, ...]] = {}
    source_revision: str
    baseline: Baseline | None = None
    anchor: Baseline | None = None
    predecessor: Predecessor | None = None
    force: str | None = None
    following: str | None = None
    content_id: str | None = Field(None, pattern="^[0-9a-f]{16}$")
    same_golden: str | None = Field(None, pattern="^[0-9a-f]{16}$")
    _scores_folders: dict[str, str] = PrivateAttr(default_factory=dict)  # private: no file can set them
    _results_folder: str = PrivateAttr("")

    def with_folders(self, scores: dict[str, str], results: str = "") -> Self:
        """The spec for a process that keeps the scores of some captions, by caption id, and the run's results in
        folders below their usual places."""
        copy = self.model_copy()
        copy._scores_folders, copy._results_folder = {**self._scores_folders, **scores}, results or self._results_folder
        return copy

    @property
    def lost_baseline(self) -> bool:
        """Whether an upgrade of Assay, and nothing that a person changed, left this run without a baseline."""
        return self.baseline is None and self.predecessor is not None and not self.predecessor.changed

    @property
    def lost_anchor(self) -> bool:
        """Whether an upgrade of Assay, and nothing that a person changed, left this run without its anchor."""
        lost = self.predecessor is not None and not self.predecessor.changed
        return lost and self.anchor is None and self.suite.gate.anchor == "first"

    @property
    def golden_id(self) -> str:
        return self.same_golden or digest(
            PREPROCESS_VERSION, self.source_revision, self.suite.dataset.content(), self.suite.preprocess.content()
        )

    @property
    def series_id(self) -> str:
        """Two checkpoints of one series were asked alike: same images, prompt and sampling, engine settings."""
        return digest(CAPTION_VERSION, self.golden_id, self.suite.caption.identity(), self.suite.engine.output())

    @property
    def caption_id(self) -> str:
        return digest(self.series_id, self.checkpoint.fingerprint)

    @property
    def judge_id(self) -> str:
        """Two judges with one id give the same answers to the same question."""
        return digest(JUDGE_VERSION, self.suite.judge.content(), self.judge.fingerprint if self.judge else None)

    @property
    def scale_id(self) -> str:
        """Two runs with the same scale were measured alike: same metrics, same judge."""
        measured = self.suite.metrics.content(), self.own_metrics, self.synonyms
        return digest(EVALUATE_VERSION, measured, self.clip.fingerprint if self.clip else None, self.judge_id)

    @property
    def run_id(self) -> str:
        compared = [one.run_id if one else None for one in (self.baseline, self.anchor)]
        # Empty until a suite has a section, or a spec a field, that no other id holds.
        later = [one for one in (self.suite.identity(), self.identity()) if one]
        return digest(self.caption_id, self.scale_id, self.suite.name, self.suite.gate.identity(), compared, *later)

    @property
    def golden_uri(self) -> str:
        return f"{self.root}/golden/{self.golden_id}"

    @property
    def captions_uri(self) -> str:
        return self.captions_uri_of(self.caption_id)

    @property
    def scores_uri(self) -> str:
        return self.scores_uri_of(self.caption_id)

    def captions_uri_of(self, caption_id: str) -> str:
        return f"{self.root}/captions/{caption_id}"

    def scores_id_of(self, caption_id: str) -> str:
        return digest(caption_id, self.scale_id)

    def scores_uri_of(self, caption_id: str) -> str:
        """Where these captions' scores on this spec's scale are: the candidate's, the baseline's or the anchor's."""
        return _below(self.scores_stage_of(caption_id), self._scores_folders.get(caption_id, ""))

    def scores_stage_of(self, caption_id: str) -> str:
        """Where the manifest is that says which scores of these captions stand."""
        return f"{self.root}/scores/{self.scores_id_of(caption_id)}"

    @property
    def judge_uri(self) -> str:
        """Where the judge's answers about this golden set are kept, shared by all checkpoints and prompts."""
        judge = digest(JUDGE_VERSION, self.suite.judge.answering(), self.judge.fingerprint if self.judge else None)
        return f"{self.root}/judge/{judge}/{self.golden_id}"

    @property
    def run_uri(self) -> str:
        return f"{self.root}/runs/{self.checkpoint.folder}/{self.run_id}"

    @property
    def request_uri(self) -> str:
        """Where the verdict of this request is: a forced one has its own, which its retry finds."""
        return _below(self.run_uri, forced_folder(self.force) if self.force else "")

    @property
    def results_uri(self) -> str:
        """Where this process keeps the run's results: a forced request makes its own beside those that stand."""
        return _below(self.run_uri, self._results_folder)

    @property
    def uri(self) -> str:
        """A forced request has a spec of its own, so that a plain one meanwhile cannot take its token away."""
        return f"{self.run_uri}/spec{f'-{slug(self.force)}' if self.force else ''}.json"


# --- what the stages leave behind -----------------------------------------------------------------------------------


class Part(Frozen):
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


class Summary(Frozen):
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


class Comparison(Frozen):
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


class LimitCheck(Frozen):
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


def forced_folder(token: str) -> str:
    """Where below its stage or run a forced request makes its parts or results, and its own manifest or verdict."""
    return f"forced/{slug(token)}"


def _below(uri: str, folder: str) -> str:
    return f"{uri}/{folder}" if folder else uri


def digest(*content: Any) -> str:
    """16 hex digits of the SHA-256 of the content as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def slug(text: str) -> str:
    """`text` with every run of characters that a path or a run id dislikes replaced by one dash."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.") or "unnamed"


def name_of(uri: str) -> str:
    """The name people call the thing at a URI by: its last path component."""
    return PurePosixPath(uri.split("://")[-1].rstrip("/")).name
