"""A suite: the YAML file that says what to validate with. Adding a suite is adding a file."""

import hashlib
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ray_jobs.contract.field_schema import complete
from ray_jobs.contract.identity import Identified
from ray_jobs.contract.metric_names import METRICS, RESERVED, field_metric_names
from ray_jobs.inputs.errors import nearest
from ray_jobs.inputs.names import printable

ANSWERED = frozenset(("rationale", "score", "better"))  # what the judge's answers hold beside the criteria


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SuiteSection(Identified, FrozenModel):
    """A part of a suite. `.inf` and `.nan` are YAML but not JSON, which is what a spec is kept as."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_booleans(cls, given: Any) -> Any:
        """`limit: yes` would be the number 1."""
        for name, value in given.items() if isinstance(given, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields:
                kind = cls.model_fields[name].annotation
                if bool not in (kind, *get_args(kind)) and {int, float} & {kind, *get_args(kind)}:
                    raise ValueError(f"`{name}` must be a number, not {str(value).lower()}")
        return given


def _complete_fields(given: Any) -> dict[str, Any] | str | None:
    if given is None:
        return None
    if isinstance(given, str):
        if not given.lower().endswith(".json"):
            raise ValueError(f"{printable(given, 60)!r} must be a .json file beside the suite, or the schema itself")
        return given
    return complete(given)


class Dataset(SuiteSection):
    """Where the images come from, and which of them are used."""

    IDENTIFYING: ClassVar = frozenset((
        "source", "format", "config", "split", "image", "label", "label_names", "references", "limit", "seed",
        "stratify",
    ))  # fmt: skip
    ELSEWHERE: ClassVar = {"revision": "the source revision holds it", "reads": "how fast images are read, not which"}

    source: str
    """A local path, an `s3://` URI, or the name of a data set on the Hugging Face hub. A relative path is relative to
    the suite's file."""
    format: Literal["auto", "folder", "parquet", "arrow", "huggingface", "webdataset", "manifest"] = "auto"
    """How the files are read. `auto` decides by the files that are there."""
    config: str | None = None
    """The configuration of a Hugging Face data set, where it has several."""
    split: str | None = None
    """Which split is used; `all` takes every split. Needed where the source has several splits."""
    revision: str | None = None
    """On the hub, the 40 digits of a commit. Elsewhere any text: another text makes another golden set."""
    image: str | None = None
    """The column with the image. Assay finds it itself where only one column can be meant."""
    images: str | None = None
    """The folder of the images that a manifest names, relative to the manifest's own folder."""
    label: str | None = None
    """The column with the label. In a folder of images, any text: the names of the subfolders are the labels."""
    label_names: str | None = None
    """A file with a name for each label id: JSON, CSV, TSV, or one name per line."""
    references: str | None = None
    """The column with the reference captions, which `exact_match`, `chrf` and others need."""
    limit: int | None = Field(None, gt=0)
    """How many images to draw from the source. Without it all images are used."""
    seed: int = 0
    """The seed of the sample. The same seed draws the same images."""
    stratify: bool = False
    """The sample keeps the share of each label. Needs `label` and `limit`."""
    reads: int | None = Field(None, gt=0, le=256)
    """How many images one task reads at once. The default depends on how far away the images are."""
    truth: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """For each field of `caption.fields`, the column that holds its right value."""

    @model_validator(mode="after")
    def _strata_have_labels(self) -> Self:
        if self.stratify and not (self.label and self.limit):
            raise ValueError("`stratify` needs `label` and `limit`")
        if self.label_names and not self.label:
            raise ValueError("`label_names` needs `label`")
        return self

    def content(self) -> dict[str, Any]:
        """What determines which images there are, given the revision of their source."""
        return self.identity()


class Preprocess(SuiteSection):
    """How images are decoded, resized once and stored, and which of them are rejected."""

    IDENTIFYING: ClassVar = frozenset((
        "max_pixels", "min_pixels", "patch", "filter", "format", "quality", "max_source_pixels", "min_side",
        "max_aspect", "duplicates", "decode_seconds", "decode_mb",
    ))  # fmt: skip
    ELSEWHERE: ClassVar = {
        "max_rejected_fraction": "whether the set is used, not what is in it",
        "part_rows": "how the images are cut into parts",
        "part_mb": "how the images are cut into parts",
    }

    max_pixels: int = Field(200704, gt=0)
    """An image with more pixels is made smaller."""
    min_pixels: int = Field(3136, gt=0)
    """An image with fewer pixels is made larger."""
    patch: int = Field(28, gt=0)
    """Both sides of a golden image are multiples of this many pixels."""
    filter: Literal["fast", "lanczos"] = "fast"
    """`fast` decodes a JPEG at the smallest scale that still has enough pixels; `lanczos` decodes all pixels and takes
    several times as long."""
    format: Literal["jpeg", "png"] = "jpeg"
    """How golden images are stored."""
    quality: int = Field(95, ge=1, le=100)
    """The quality of stored JPEG images, from 1 to 100."""
    max_source_pixels: int = Field(178_956_970, gt=0)
    """An image with more pixels is rejected as `too-large`, before memory is allocated."""
    min_side: int = Field(2, gt=0)
    """An image with a shorter side, in pixels, is rejected as `too-small`."""
    max_aspect: float = Field(200.0, gt=1)
    """An image whose longer side is more than this many times its shorter side is rejected as `extreme-aspect`."""
    duplicates: Literal["reject", "keep"] = "reject"
    """`reject` keeps one of several equal files; `keep` keeps all of them."""
    decode_seconds: float = Field(30.0, gt=0)
    """An image that takes longer to decode, in seconds, is rejected as `timeout`."""
    decode_mb: int = Field(4096, ge=256)
    """An image that takes more memory to decode, in MB, is rejected as `too-large`."""
    max_rejected_fraction: float = Field(0.1, ge=0, le=1)
    """If a larger share of the images is rejected, the job ends as bad input."""
    part_rows: int = Field(256, gt=0, le=4096)
    """The largest number of images in a part."""
    part_mb: int = Field(128, gt=0)
    """The largest size of a part's source images, in MB."""

    def content(self) -> dict[str, Any]:
        """What determines the images that are kept; how they are cut into parts does not."""
        return self.identity()


class Caption(SuiteSection):
    """What the model is asked about each image.

    `plan` replaces the name of a file in `fields` by the file's content. Every property of the schema becomes a column
    beside the caption.
    """

    IDENTIFYING: ClassVar = frozenset(("prompt", "max_tokens", "temperature", "seed"))

    prompt: str = "Describe the image in one sentence."
    """What the model is asked about each image. The chat template adds the image and the marks of the turns."""
    max_tokens: int = Field(64, gt=0)
    """The longest caption, in tokens."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy decoding. Above 0, captions are sampled, and the nightly audit is skipped."""
    seed: int = 0
    """The seed of sampling. Each image gets its own seed from it."""
    fields: Annotated[dict[str, Any] | str | None, BeforeValidator(_complete_fields)] = None
    """A JSON schema, or a .json file beside the suite with one. Each answer is then a JSON object that fits it."""

    @property
    def schema_of_fields(self) -> dict[str, Any] | None:
        """The complete schema of the fields; None without fields, and while they are the name of a file."""
        return self.fields if isinstance(self.fields, dict) else None

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields in the order of the answer, the caption among them where it is one."""
        return tuple((self.schema_of_fields or {}).get("properties", ()))

    def seed_of(self, image_id: str) -> int:
        """31 bits, each image its own: with one for all their draws, and so their errors, would be alike."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{image_id}".encode()).digest()[:4]) >> 1


class Engine(SuiteSection):
    """How vLLM runs. Only `dtype`, `max_model_len` and `quantization` change captions, so only they enter an id."""

    IDENTIFYING: ClassVar = frozenset(("dtype", "max_model_len", "quantization"))
    ELSEWHERE: ClassVar = {
        "kind": "both kinds of engine give the same captions",
        "keep_seconds": "what happens after the job",
        "audit": "checks captions that are there",
        "max_num_seqs": "speed",
        "max_num_batched_tokens": "speed",
        "tensor_parallel_size": "speed",
        "replicas": "speed",
        "renderers": "speed",
        "gpu_memory_utilization": "speed",
        "enforce_eager": "speed",
        "base_model": "the checkpoint's fingerprint covers its base",
    }

    kind: Literal["warm", "ray_data_llm"] = "warm"
    """`warm` keeps the vLLM engine for the next checkpoint; `ray_data_llm` starts one engine per job."""
    keep_seconds: float = Field(900.0, ge=0)
    """How long a warm engine waits for the next job before it ends, in seconds."""
    audit: int = Field(64, ge=0)
    """How many captions of a warm engine a fresh engine makes again at night; 0 for none."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The arithmetic of the model. `auto` takes that of the checkpoint's config."""
    max_model_len: int = Field(4096, gt=0)
    """The most tokens of prompt, image and answer together."""
    quantization: str | None = None
    """How vLLM quantises whole weights as it loads them. Quantised checkpoints do not need it."""
    max_num_seqs: int = Field(256, gt=0)
    """How many requests vLLM runs at once."""
    max_num_batched_tokens: int = Field(16384, gt=0)
    """How many tokens vLLM computes in one step; at least `max_model_len`."""
    tensor_parallel_size: int = Field(1, gt=0)
    """How many GPUs one model is spread over."""
    replicas: int = Field(1, gt=0)
    """How many engines one job uses at once."""
    renderers: int | None = Field(None, ge=0)
    """How many processes prepare images beside an engine. The default is 4 with a GPU and 0 without."""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    """The share of a GPU's memory that one engine may take. With at most 0.5, two engines share a GPU."""
    enforce_eager: bool = False
    """No compilation and no CUDA graphs; for tiny models."""
    base_model: str | None = None
    """The URI of the model that LoRA adapters change, for adapters whose own config names only a model on a hub."""

    @property
    def gpus(self) -> float:
        """What one engine takes of Ray's GPUs: two that need half a GPU's memory each share one."""
        if self.tensor_parallel_size > 1:
            return self.tensor_parallel_size
        return 1.0 if self.gpu_memory_utilization > 0.5 else self.gpu_memory_utilization

    def output(self) -> dict[str, Any]:
        return self.identity()


class Metrics(SuiteSection):
    """What is measured of each caption beyond the built-in metrics."""

    IDENTIFYING: ClassVar = frozenset(("language",))
    ELSEWHERE: ClassVar = {
        "synonyms": "the spec holds its content",
        "own": "the spec holds its source code",
        "clip": "the fingerprint of the model counts",
    }

    language: str = Field("en", pattern=r"^[a-z]{2}$")
    """The language that captions should be in, as a code of ISO 639-1."""
    synonyms: str | None = None
    """A JSON file with further names of each label."""
    own: tuple[Annotated[str, Field(pattern=r"(^|/)[a-z][a-z0-9_]*\.py$")], ...] = ()
    """Python files beside the suite, each with a metric that is named like the file."""
    clip: str | None = None
    """The URI of a CLIP model, for `clipscore` and `refclipscore`."""

    def content(self) -> dict[str, Any]:
        """What of these settings determines the scores."""
        return self.identity()

    def names(self) -> tuple[str, ...]:
        """Names of the metrics that only this suite has."""
        clip = ("clipscore", "refclipscore") if self.clip else ()
        return (*clip, *(file.rpartition("/")[2].removesuffix(".py") for file in self.own))


class Price(SuiteSection):
    """What a judge's tokens cost, in any currency."""

    IDENTIFYING: ClassVar = frozenset(("input", "output"))

    input: float = Field(0.0, ge=0)
    """The price of a million input tokens."""
    output: float = Field(0.0, ge=0)
    """The price of a million output tokens."""


class Judge(SuiteSection):
    """A model that sees the image and scores the caption.

    With `criteria` the judge answers true or false to each, and the score is the share that is true, in [0, 1]. Without
    them the judge answers with a whole number from 1 to 5. In both cases it writes its `rationale` first. A suite never
    holds the key of an endpoint.
    """

    IDENTIFYING: ClassVar = frozenset(("kind", "criteria", "max_tokens", "prompt", "pairwise", "pairwise_prompt"))
    ELSEWHERE: ClassVar = {
        "model": "the fingerprint counts; of an endpoint its name, which `answer_settings` adds",
        "base_url": "`answer_settings` adds it for an endpoint; no other judge has one",
        "engine": "`answer_settings` adds what of it changes answers",
        "key_variable": "who asks, not what is answered",
        "concurrency": "speed",
        "timeout_seconds": "an answer that came too late is missing, not another one",
        "tries": "an answer that never came is missing, not another one",
        "price": "what answers cost",
    }

    kind: Literal["none", "vllm", "openai"] = "none"
    """`vllm` runs a checkpoint on our own engine; `openai` asks an OpenAI-compatible endpoint."""
    model: str | None = None
    """With `vllm` the URI of the judge's checkpoint; with `openai` the name of the model at the endpoint."""
    prompt: str = (
        "Rate how well this caption describes the image, from 1 (wrong) to 5 (complete and correct): {caption}"
    )
    """The question. It must hold `{caption}` and may hold `{references}`."""
    criteria: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ...] = ()
    """Names of the questions that the judge answers with true or false. The score is then the share that is true."""
    pairwise: bool = False
    """The judge also says which of two captions is better, the baseline's or the candidate's, in both orders."""
    pairwise_prompt: str = (
        "Which caption describes the image better? Answer first, second or tie.\nFirst: {first}\nSecond: {second}"
    )
    """The question about a pair. It must hold `{first}` and `{second}`."""
    max_tokens: int = Field(256, gt=0)
    """The longest answer in tokens, its rationale included."""
    engine: Engine = Engine()
    """The settings of the judge's own engine: the same keys as the section `engine`. Only with `vllm`."""
    base_url: str | None = None
    """The address of the endpoint. Only with `openai`."""
    key_variable: str = Field("ASSAY_JUDGE_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")
    """The environment variable on the Ray cluster that holds the endpoint's key."""
    concurrency: int = Field(16, gt=0, le=1024)
    """How many requests the job sends at once."""
    timeout_seconds: float = Field(60.0, gt=0)
    """The time limit of one try in seconds, from the request to the last byte of its answer."""
    tries: int = Field(6, gt=0, le=20)
    """How often one question is tried, where a failure may pass."""
    price: Price = Price()
    """What the endpoint's tokens cost, for the totals."""

    @model_validator(mode="after")
    def _model_is_named(self) -> Self:
        if self.kind == "vllm" and not self.model:
            raise ValueError("needs `model`, the URI of the judge's checkpoint")
        if self.kind == "openai" and not (self.model and self.base_url):
            raise ValueError("needs `base_url` and `model`, the endpoint and the name of the judge's model there")
        if "{caption}" not in self.prompt:
            raise ValueError("`prompt` must hold {caption}")
        for name in ANSWERED.intersection(self.criteria):
            raise ValueError(f"`criteria`: {name!r} is a key of the judge's answers already; name it otherwise")
        if not ("{first}" in self.pairwise_prompt and "{second}" in self.pairwise_prompt):
            raise ValueError("`pairwise_prompt` must hold {first} and {second}")
        return self

    def content(self) -> dict[str, Any]:
        """What determines the answers, given the judge's weights."""
        return self.answer_settings() | self.identity()

    def answer_settings(self) -> dict[str, Any]:
        """What determines the answer to a given question: a new prompt makes new questions, not another judge."""
        questions = ("prompt", "pairwise", "pairwise_prompt")
        how = {name: value for name, value in self.identity().items() if name not in questions}
        where = {"model": self.model, "base_url": self.base_url} if self.kind == "openai" else self.engine.output()
        return how | where

    def metrics(self) -> tuple[str, ...]:
        """Names of the per-image metrics this judge gives, `judge` first; `preference` needs a baseline."""
        if self.kind == "none":
            return ()
        return ("judge", *(f"judge_{name}" for name in self.criteria), *(("preference",) if self.pairwise else ()))


class GatingMetric(SuiteSection):
    """What a metric needs to decide the verdict."""

    IDENTIFYING: ClassVar = frozenset(("margin",))

    margin: float = Field(ge=0)
    """The worsening that is still acceptable, in the metric's own unit."""


class Limit(SuiteSection):
    """The range that a metric's mean must stay in, whatever the baseline has."""

    IDENTIFYING: ClassVar = frozenset(("max", "min"))

    max: float | None = None
    """The metric's mean must not be above it."""
    min: float | None = None
    """The metric's mean must not be below it."""

    @model_validator(mode="after")
    def _is_a_limit(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("needs `max` or `min`")
        return self


class Gate(SuiteSection):
    """How scores become a verdict."""

    IDENTIFYING: ClassVar = frozenset(("alpha", "coverage", "power", "cluster", "metrics", "limits"))
    ELSEWHERE: ClassVar = {
        "baseline": "the run that it names counts",
        "anchor": "the run that it names counts",
    }

    baseline: str = "last-accepted"
    """What each run is compared with: `last-accepted`, `previous`, `none`, or the URI of a checkpoint or run."""
    anchor: str | None = None
    """A second, fixed baseline: `first`, or a URI. Small losses of many nights cannot add up unseen."""
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
    """Absolute limits on a metric's mean, whatever the baseline has."""


class Suite(SuiteSection):
    """What one kind of validation uses: images, prompt, engine, metrics, judge and gate."""

    ELSEWHERE: ClassVar = {
        "name": "the run's id holds it",
        **dict.fromkeys(
            ("dataset", "preprocess", "caption", "engine", "metrics", "judge", "gate"), "has an identity of its own"
        ),
    }

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """The name of the suite. It must be the file's name without `.yaml`."""
    dataset: Dataset
    """Where the images come from, and which of them are used."""
    preprocess: Preprocess = Preprocess()
    """How images are resized, stored and rejected."""
    caption: Caption = Caption()
    """What the model is asked about each image."""
    engine: Engine = Engine()
    """How vLLM runs."""
    metrics: Metrics = Metrics()
    """What is measured of each caption beyond the built-in metrics."""
    judge: Judge = Judge()
    """The model that scores how well a caption and its image agree."""
    gate: Gate = Gate()
    """How scores become a verdict."""

    @model_validator(mode="after")
    def _truth_is_of_fields(self) -> Self:
        if self.dataset.truth and self.caption.fields is None:
            raise ValueError("dataset.truth: gives the right values of fields, and there are none; set caption.fields")
        if self.caption.schema_of_fields:
            for name in self.dataset.truth:
                if name not in self.caption.field_names:
                    hint = nearest(name, list(self.caption.field_names))
                    raise ValueError(f"dataset.truth: caption.fields has no property {printable(name, 60)!r}{hint}")
        return self

    @model_validator(mode="after")
    def _gate_names_metrics(self) -> Self:
        schema, is_in_file = self.caption.schema_of_fields, isinstance(self.caption.fields, str)
        fields = field_metric_names(schema, self.dataset.truth) if schema else []
        further = [*self.metrics.names(), *self.judge.metrics(), *fields]
        for name in further:
            if name in METRICS or further.count(name) > 1 or (name in RESERVED and name in self.metrics.names()):
                raise ValueError(f"metrics: {name!r} is there already; rename metrics.own's file")
        known = {"metrics": [name for name, direction in METRICS.items() if direction] + further}
        known["limits"] = list(METRICS) + further
        for section, names in known.items():
            for name in getattr(self.gate, section):
                if is_in_file and name.startswith("field"):  # `plan` looks again when it has read the file
                    continue
                if name not in names:
                    raise ValueError(f"gate.{section}: unknown metric {name!r}{nearest(name, names)}")
        return self
