"""What every engine is asked and answers: the words that captioning, judging and the engines have in common."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ray_jobs.engine.prompt import ImageRefused, PromptBuilder

Task = dict[str, Any]  # {"part": its name, "rows": the numbers of rows asked about}
# What to ask about these rows of a part, one `request` each and in order; runs where the engine is, so Ray can send it.
Requests = Callable[[str, Sequence[int], PromptBuilder], Iterator[dict[str, Any]]]
# A request's answer: `key`, `text`, `finish_reason` (stop or length), `prompt_tokens`, `tokens`, `arrived` and
# `finished` (seconds since the epoch), and `failure` with its `detail`, None when there is none.
Answer = dict[str, Any]


@dataclass
class EngineReport:
    """What the engine was to this job. Times are seconds, those of `spent` summed over all answers.

    `warm`: it had answered for another job before and was handed the weights; `told` says why, or why not. Of several
    engines these are the last one's; `swapped` says whether any of them was warm.
    """

    kind: str = ""
    warm: bool = False
    told: str = ""
    swapped: bool = False
    swap: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)

    def details(self) -> dict[str, Any]:
        return {"kind": self.kind, "warm": self.warm, "told": self.told}

    def seconds(self) -> dict[str, float]:
        times = {"swap": self.swap} if self.warm else {}
        return {what: round(took, 3) for what, took in {**times, **self.spent}.items()}


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
