"""What every engine is asked and answers: the words that captioning, judging and the engines have in common."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from PIL import Image

from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.suite import Engine
from ray_jobs.engine.prompt import ImageRefused, PromptBuilder

Task = dict[str, Any]  # {"part": its name, "rows": the numbers of rows asked about}
# What to ask about these rows of a part, one `request` each and in order; runs where the engine is, so Ray can send it.
Requests = Callable[[str, Sequence[int], PromptBuilder], Iterator[dict[str, Any]]]
# A request's answer: `key`, `text`, `finish_reason` (stop or length), `prompt_tokens`, `tokens`, `arrived` and
# `finished` (seconds since the epoch), and `failure` with its `detail`, None when there is none.
Answer = dict[str, Any]


@dataclass(frozen=True)
class EngineJob:
    """What a job wants of an engine: answers to what `requests` asks about the rows of the tasks.

    `next_checkpoint` is the URI of the checkpoint that is validated next, if any: a warm engine fetches it meanwhile.
    """

    checkpoint: Checkpoint
    engine: Engine
    tasks: list[Task]
    requests: Requests
    next_checkpoint: str | None = None


@dataclass(frozen=True)
class EngineReport:
    """What the engine was to this job so far. Times are seconds; `request_seconds` are sums over all answers.

    `warm`: the engine had answered for another job before and loaded the weights of this one; `reason` says why it is
    warm, or why not. If several engines served the job, these three describe the last one. `weights_swapped` is true if
    any of them was warm.
    """

    kind: str = ""
    warm: bool = False
    reason: str = ""
    weights_swapped: bool = False
    swap_seconds: float = 0.0
    request_seconds: Mapping[str, float] = field(default_factory=dict)

    def details(self) -> dict[str, Any]:
        """The report as a manifest keeps it."""
        return {"kind": self.kind, "warm": self.warm, "told": self.reason}

    def seconds(self) -> dict[str, float]:
        times = {"swap": self.swap_seconds} if self.warm else {}
        return {phase: round(seconds, 3) for phase, seconds in {**times, **self.request_seconds}.items()}

    def add_seconds(self, more: Mapping[str, float]) -> "EngineReport":
        """The report with these seconds added to those of the same phase."""
        sums = {phase: self.request_seconds.get(phase, 0.0) + seconds for phase, seconds in more.items()}
        return replace(self, request_seconds={**self.request_seconds, **sums})


class AnswerBlock(NamedTuple):
    """Some answers, and the report as it stands with them. The last block of a stream has the final report."""

    answers: list[Answer]
    report: EngineReport


def build_request(
    part: str, row: int, image: bytes, text: str, maker: PromptBuilder, sampling: dict[str, Any]
) -> dict[str, Any]:
    """The request about one golden image: `text` is what the user asks.

    `key` comes back with the answer; `least_tokens` is the length that the prompt must have once its image is inside.
    `refused` says why the model's processor does not take the image; it then has no answer, and the others have theirs.
    """
    pixels = Image.open(io.BytesIO(image)).convert("RGB")
    prompt = maker.prompt(text)
    refused, least_tokens = None, 0
    try:
        least_tokens = maker.least_tokens(prompt, pixels.width, pixels.height)
    except ImageRefused as error:
        refused = f"an image of {pixels.width} x {pixels.height}: {error}"
    return {
        "key": f"{part}/{row}",
        "prompt": prompt,
        "tokenized_prompt": maker.tokens(prompt),
        "multimodal_data": {"image": pixels},
        "sampling_params": sampling,
        "least_tokens": least_tokens,
        "refused": refused,
    }


def why_image_missing(prompt_tokens: int, least_tokens: int) -> str | None:
    """Why the prompt cannot have had its image inside, in which case the model made its answer up; None when it had."""
    if prompt_tokens >= least_tokens:
        return None
    return f"prompt of {prompt_tokens} tokens, {least_tokens} with its image"
