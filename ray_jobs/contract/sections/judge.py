"""The section `judge` of a suite: the model that scores captions, its questions and its endpoint or engine."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.suite_section import SuiteSection

ANSWER_KEYS = frozenset(("rationale", "score", "better"))  # in the judge's answers, beside the criteria


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
    def _check_model_and_prompts(self) -> Self:
        if self.kind == "vllm" and not self.model:
            raise ValueError("needs `model`, the URI of the judge's checkpoint")
        if self.kind == "openai" and not (self.model and self.base_url):
            raise ValueError("needs `base_url` and `model`, the endpoint and the name of the judge's model there")
        if "{caption}" not in self.prompt:
            raise ValueError("`prompt` must hold {caption}")
        for name in ANSWER_KEYS.intersection(self.criteria):
            raise ValueError(f"`criteria`: {name!r} is a key of the judge's answers already; name it otherwise")
        if not ("{first}" in self.pairwise_prompt and "{second}" in self.pairwise_prompt):
            raise ValueError("`pairwise_prompt` must hold {first} and {second}")
        return self

    def content(self) -> dict[str, Any]:
        """Returns the settings that determine the scores, besides the judge's weights."""
        return self.answer_settings() | self.identity()

    def answer_settings(self) -> dict[str, Any]:
        """Returns the settings that determine the answer to a given question, besides the judge's weights.

        The prompts are not among them, because a new prompt makes new questions, not another judge.
        """
        questions = ("prompt", "pairwise", "pairwise_prompt")
        how = {name: value for name, value in self.identity().items() if name not in questions}
        where = {"model": self.model, "base_url": self.base_url} if self.kind == "openai" else self.engine.identity()
        return how | where

    def metrics(self) -> tuple[str, ...]:
        """Returns the names of this judge's metrics, `judge` first. `preference` has values only with a baseline."""
        if self.kind == "none":
            return ()
        return ("judge", *(f"judge_{name}" for name in self.criteria), *(("preference",) if self.pairwise else ()))
