"""What the stages agree on: suite, spec, manifest, verdict and record, and the ids that name their outputs.

Imported by both planes, so only pydantic and the standard library. Every id is a hash of exactly what determines the
content it names: change the prompt and the captions get a new home while the golden set stays where it is.
"""

import difflib
import hashlib
import json
import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

# Raise one of these when the code of a stage changes what it writes for the same settings: its outputs get new ids.
PREPROCESS_VERSION, CAPTION_VERSION, EVALUATE_VERSION = 1, 1, 1

# The metrics every run computes per image, and whether more is better (+1), worse (-1) or neither (0).
# The judge adds `judge` and one `judge_<criterion>` each, all +1.
METRICS = {
    "characters": 0,
    "words": 0,
    "tokens": 0,
    "empty": -1,
    "truncated": -1,
    "repetition": -1,
    "exact_match": +1,
    "chrf": +1,
}


class BadInput(Exception):
    """What was asked for cannot be done however often it is tried: a person has to change something."""


class Trouble(Exception):
    """The world was in the way: the same job may succeed when it is tried again."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- suite: what to validate with -------------------------------------------------------------------------------------


class Dataset(Frozen):
    """Where the images come from and which of them are used."""

    source: str
    format: Literal["auto", "folder", "parquet", "huggingface"] = "auto"
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    image: str = "image"
    label: str | None = None
    references: str | None = None
    limit: int | None = Field(None, gt=0)
    seed: int = 0


class Preprocess(Frozen):
    """Images are resized to at most `max_pixels` and at least `min_pixels`, both sides multiples of `patch` pixels."""

    max_pixels: int = Field(200704, gt=0)
    min_pixels: int = Field(3136, gt=0)
    patch: int = Field(28, gt=0)
    format: Literal["jpeg", "png"] = "jpeg"
    quality: int = Field(95, ge=1, le=100)
    max_source_pixels: int = Field(178_956_970, gt=0)
    max_aspect: float = Field(200.0, gt=1)
    part_rows: int = Field(256, gt=0)


class Caption(Frozen):
    prompt: str = "Describe the image in one sentence."
    max_tokens: int = Field(64, gt=0)
    temperature: float = Field(0.0, ge=0)
    seed: int = 0


class Engine(Frozen):
    """How vLLM is run. `dtype`, `max_model_len` and `quantization` change the captions, so they enter an id."""

    kind: Literal["ray_data_llm"] = "ray_data_llm"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int = Field(4096, gt=0)
    quantization: str | None = None
    max_num_seqs: int = Field(256, gt=0)
    max_num_batched_tokens: int = Field(16384, gt=0)
    tensor_parallel_size: int = Field(1, gt=0)
    replicas: int = Field(1, gt=0)
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    enforce_eager: bool = False

    def output(self) -> dict[str, Any]:
        return self.model_dump(include={"dtype", "max_model_len", "quantization"})


class Judge(Frozen):
    """An LLM judge that sees the image. `prompt` holds `{caption}` and may hold `{references}`.

    With `criteria` it answers true or false to each and the score is the share that holds, in [0, 1]; without them it
    answers with a whole number from 1 to 5. Either way it writes its `rationale` first.
    """

    kind: Literal["none", "vllm"] = "none"
    model: str | None = None
    prompt: str = (
        "Rate how well this caption describes the image, from 1 (wrong) to 5 (complete and correct): {caption}"
    )
    criteria: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ...] = ()
    max_tokens: int = Field(256, gt=0)
    engine: Engine = Engine()

    @model_validator(mode="after")
    def _model_is_named(self) -> Self:
        if self.kind != "none" and not self.model:
            raise ValueError("needs `model`, the URI of the judge's checkpoint")
        if "{caption}" not in self.prompt:
            raise ValueError("`prompt` must hold {caption}")
        return self

    def metrics(self) -> tuple[str, ...]:
        """Names of the per-image metrics this judge gives, `judge` first."""
        return ("judge", *(f"judge_{name}" for name in self.criteria)) if self.kind != "none" else ()


class GatingMetric(Frozen):
    """`margin`: the worsening that is still acceptable, in the metric's own unit."""

    margin: float = Field(ge=0)


class Gate(Frozen):
    """`alpha` is the false-alarm rate of the whole verdict, `coverage` the share of images that must have a score."""

    baseline: str = "last-accepted"
    alpha: float = Field(0.0027, gt=0, lt=0.5)
    coverage: float = Field(0.999, gt=0, le=1)
    metrics: dict[str, GatingMetric] = {}


class Suite(Frozen):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    dataset: Dataset
    preprocess: Preprocess = Preprocess()
    caption: Caption = Caption()
    engine: Engine = Engine()
    judge: Judge = Judge()
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _gate_names_metrics(self) -> Self:
        known = [name for name, direction in METRICS.items() if direction] + list(self.judge.metrics())
        for name in self.gate.metrics:
            if name not in known:
                raise ValueError(f"gate.metrics: unknown metric {name!r}{nearest(name, known)}")
        return self


# --- spec: one run, resolved ------------------------------------------------------------------------------------------


class Checkpoint(Frozen):
    """`fingerprint` is a hash of the weights, so a checkpoint overwritten in place is another checkpoint."""

    uri: str
    name: str
    fingerprint: str

    @property
    def folder(self) -> str:
        return f"{slug(self.name)}-{self.fingerprint[:8]}"


class Baseline(Frozen):
    run_id: str
    run_uri: str
    checkpoint: Checkpoint


class Spec(Frozen):
    """Everything a job needs, resolved once by `plan`. `force` names the request that wants the captions made anew."""

    root: str
    suite: Suite
    checkpoint: Checkpoint
    judge: Checkpoint | None = None
    source_revision: str
    baseline: Baseline | None = None
    force: str | None = None

    @property
    def golden_id(self) -> str:
        dataset = self.suite.dataset.model_dump(exclude={"revision"})
        return digest(
            PREPROCESS_VERSION, self.source_revision, dataset, self.suite.preprocess.model_dump(exclude={"part_rows"})
        )

    @property
    def caption_id(self) -> str:
        return digest(
            CAPTION_VERSION,
            self.golden_id,
            self.checkpoint.fingerprint,
            self.suite.caption.model_dump(),
            self.suite.engine.output(),
        )

    @property
    def scale_id(self) -> str:
        """Two runs with the same scale were measured alike: same images, prompt, judge and metrics."""
        judge = self.suite.judge.model_dump(exclude={"model", "engine"}) | self.suite.judge.engine.output()
        return digest(
            EVALUATE_VERSION,
            self.golden_id,
            self.suite.caption.model_dump(),
            self.suite.engine.output(),
            judge,
            self.judge.fingerprint if self.judge else None,
        )

    @property
    def run_id(self) -> str:
        baseline = self.baseline.run_id if self.baseline else None
        gate = self.suite.gate.model_dump(exclude={"baseline"})
        return digest(self.caption_id, self.scale_id, self.suite.name, gate, baseline)

    @property
    def golden_uri(self) -> str:
        return f"{self.root}/golden/{self.golden_id}"

    @property
    def captions_uri(self) -> str:
        return f"{self.root}/captions/{self.caption_id}"

    @property
    def run_uri(self) -> str:
        return f"{self.root}/runs/{self.checkpoint.folder}/{self.run_id}"

    @property
    def uri(self) -> str:
        return f"{self.run_uri}/spec.json"


# --- what the stages leave behind ------------------------------------------------------------------------------------


class Part(Frozen):
    name: str
    rows: int
    lost: dict[str, int] = {}
    sha256: str


class Manifest(Frozen):
    """Written last: its existence means the stage is complete. `rows_in = rows_out + sum(lost)` or it is not written."""

    stage: Literal["golden", "captions", "scores"]
    id: str
    rows_in: int = Field(ge=0)
    rows_out: int = Field(ge=0)
    lost: dict[str, int] = {}
    parts: tuple[Part, ...]
    seconds: dict[str, float] = {}
    versions: dict[str, str] = {}
    details: dict[str, Any] = {}
    created_at: datetime

    @model_validator(mode="after")
    def _nothing_is_silently_lost(self) -> Self:
        if self.rows_in != self.rows_out + sum(self.lost.values()):
            raise ValueError(f"{self.stage} {self.id}: {self.rows_in} in, {self.rows_out} out, lost {self.lost}")
        return self


class Summary(Frozen):
    """One metric over all scored images: mean, its standard error and a 95% interval; n counts images with a value."""

    n: int
    expected: int
    mean: float | None
    standard_error: float | None
    low: float | None
    high: float | None


class Scores(Frozen):
    run_id: str
    scale_id: str
    images: int
    scored: int
    failed: dict[str, int]
    metrics: dict[str, Summary]
    manifest: Manifest


Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INCOMPLETE"]


class Comparison(Frozen):
    """Candidate minus baseline over the images both have, signed so that positive is better, in the metric's unit."""

    metric: str
    outcome: Outcome
    n: int
    baseline: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    margin: float
    p_worse: float | None
    decisive_n: int | None = None


class Verdict(Frozen):
    outcome: Outcome
    reason: str
    baseline: Baseline | None
    alpha: float
    comparisons: tuple[Comparison, ...] = ()


class Record(Frozen):
    """The one JSON a run leaves: the source of truth for every index and page."""

    run_id: str
    run_uri: str
    scale_id: str
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


class Failure(Frozen):
    """`failure.json`: why a job failed, and whether trying again can help."""

    stage: str
    kind: Literal["bad-input", "trouble"]
    message: str
    at: datetime


# --- ids and reading --------------------------------------------------------------------------------------------------


def digest(*content: Any) -> str:
    """16 hex digits of the SHA-256 of the content as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def slug(text: str) -> str:
    """`text` with every run of characters that a path or a run id dislikes replaced by one dash."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.") or "unnamed"


def nearest(name: str, known: list[str]) -> str:
    """A hint to end an error line with: the known name closest to a wrong one, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def parse_suite(text: str, where: str) -> Suite:
    """The suite in a YAML text; `where` names it in errors. Raises BadInput with one line per text, the first fault."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"suite {where}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise BadInput(f"suite {where}: must be a mapping with the keys {', '.join(Suite.model_fields)}")
    try:
        return Suite.model_validate(raw)
    except ValidationError as error:
        raise BadInput(f"suite {where}: {_first_fault(error)}") from None


def _first_fault(error: ValidationError) -> str:
    """The first fault of a suite in one line, an unknown key with the nearest right name."""
    faults = error.errors()
    fault = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])  # a typo hides the right key
    path = [str(step) for step in fault["loc"]]
    where = ".".join(path) or "suite"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {where!r}{nearest(path[-1], list(_model_at(path[:-1]).model_fields))}"
    if fault["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}"


def _model_at(path: list[str]) -> type[BaseModel]:
    model: type[BaseModel] = Suite
    for step in path:
        annotation = model.model_fields[step].annotation if step in model.model_fields else GatingMetric
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else GatingMetric
    return model


def name_of(uri: str) -> str:
    """The name people call the thing at a URI by: its last path component."""
    return PurePosixPath(uri.split("://")[-1].rstrip("/")).name
