"""Defines the requests, answers and reports that captioning, judging and all engines share.

Drivers, actors, renderers and Ray tasks import it.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from PIL import Image

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.chosen_settings import EXPECTED, Workload
from ray_jobs.engine.prompt import ImageRefused, PromptBuilder

Task = dict[str, Any]  # {"part": the part's name, "rows": the numbers of its rows}
# Builds the requests about these rows of a part, one per row and in order. Ray must be able to send the function,
# because it runs beside the engine.
Requests = Callable[[str, Sequence[int], PromptBuilder], Iterator[dict[str, Any]]]
# The answer to a request: `key`, `text`, `finish_reason` (stop or length), `prompt_tokens`, `tokens`, `arrived` and
# `finished` (seconds since the epoch), and `failure` with its `detail`, both None if there is none.
Answer = dict[str, Any]


@dataclass(frozen=True)
class EngineJob:
    """The work of a job for engines: answers to the requests about the rows of all tasks.

    `next_checkpoint` is the URI of the checkpoint that is validated next, or None. A warm engine fetches it meanwhile.
    """

    checkpoint: Checkpoint
    engine: Engine
    tasks: list[Task]
    requests: Requests
    next_checkpoint: str | None = None
    workload: Workload = EXPECTED


@dataclass(frozen=True)
class EngineReport:
    """The engine's report to the job so far. Times are seconds; `request_seconds` are sums over all answers.

    `warm`: the engine was running before this job, and loaded this job's weights. `reason` says why it is warm, or why
    not. If several engines served the job, `warm`, `reason` and `swap_seconds` describe the last one. `weights_swapped`
    is true if any of them was warm.
    """

    kind: str = ""
    warm: bool = False
    reason: str = ""
    weights_swapped: bool = False
    swap_seconds: float = 0.0
    request_seconds: Mapping[str, float] = field(default_factory=dict)

    def details(self) -> dict[str, Any]:
        """The fields of the report that a manifest stores."""
        return {"kind": self.kind, "warm": self.warm, "told": self.reason}

    def seconds(self) -> dict[str, float]:
        times = {"swap": self.swap_seconds} if self.warm else {}
        return {phase: round(seconds, 3) for phase, seconds in {**times, **self.request_seconds}.items()}

    def add_seconds(self, more: Mapping[str, float]) -> "EngineReport":
        """The report with these seconds added to those of the same phase."""
        sums = {phase: self.request_seconds.get(phase, 0.0) + seconds for phase, seconds in more.items()}
        return replace(self, request_seconds={**self.request_seconds, **sums})


class AnswerBlock(NamedTuple):
    """Some answers, and the report up to them. The last block of a stream has the final report."""

    answers: list[Answer]
    report: EngineReport


def build_request(
    part: str, row: int, image: bytes, text: str, prompt_builder: PromptBuilder, sampling: dict[str, Any]
) -> dict[str, Any]:
    """The request about one golden image; `text` is the user's text.

    The answer has the same `key`. `least_tokens` is the least length of the prompt once its image is inside. `refused`
    says why the model's processor refuses the image. Then only this image has no answer.
    """
    pixels = Image.open(io.BytesIO(image)).convert("RGB")
    prompt = prompt_builder.prompt(text)
    refused, least_tokens = None, 0
    try:
        least_tokens = prompt_builder.least_tokens(prompt, pixels.width, pixels.height)
    except ImageRefused as error:
        refused = f"an image of {pixels.width} x {pixels.height}: {error}"
    return {
        "key": f"{part}/{row}",
        "prompt": prompt,
        "tokenized_prompt": prompt_builder.tokens(prompt),
        "multimodal_data": {"image": pixels},
        "sampling_params": sampling,
        "least_tokens": least_tokens,
        "refused": refused,
    }


def why_image_missing(prompt_tokens: int, least_tokens: int) -> str | None:
    """Why the image cannot be inside the prompt, so that the model has made its answer up; None if it is inside."""
    if prompt_tokens >= least_tokens:
        return None
    return f"prompt of {prompt_tokens} tokens, {least_tokens} with its image"
