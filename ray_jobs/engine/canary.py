"""A few fixed pictures that an engine says something about after every change of weights.

What it says, to the log-probability, belongs to the weights: other weights that say exactly the same were not loaded,
and weights that were there before must say what they said then.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

PROMPT = "Describe the image in one sentence."
TOKENS = 8
SIDE = 112  # pixels
TOLERANCE = 0.05  # nats: a GPU need not add in the same order twice; in float32 on a CPU nothing moves

LogprobTrace = tuple[tuple[int, float], ...]  # token and log-probability, of all pictures one after the other


def make_pictures() -> list[Image.Image]:
    """Three pictures of SIDE x SIDE: a gradient, stripes, a disc."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    gradient = np.stack([x * 2, y * 2, 255 - x - y], axis=-1)
    stripes = np.stack([(x // 8 % 2) * 255, (y // 16 % 2) * 200, np.full_like(x, 40)], axis=-1)
    disc = np.where(((x - 56) ** 2 + (y - 50) ** 2 < 900)[..., None], [220, 60, 30], [20, 30, 90])
    return [Image.fromarray(picture.clip(0, 255).astype(np.uint8)) for picture in (gradient, stripes, disc)]


def matches(first: LogprobTrace, second: LogprobTrace) -> bool:
    """Whether the same weights can have said both: until the first token on which they part, all is within tolerance.

    They may part where two tokens are as likely, to within the tolerance.
    """
    for (token, probability), (other, its) in zip(first, second, strict=True):
        if abs(probability - its) > TOLERANCE:
            return False
        if token != other:
            return True
    return True


@dataclass
class Canary:
    """What each checkpoint (by fingerprint) said in this engine."""

    said: dict[str, LogprobTrace]
    last: str = ""

    def doubt(self, fingerprint: str, saying: LogprobTrace, weights_differ: bool) -> str | None:
        """Why the weights in the engine cannot be the checkpoint's, None when there is no such reason.

        `weights_differ`: whether its values are others than those that were in the engine before.
        """
        before, known = self.said.get(self.last), self.said.get(fingerprint)
        if known is not None and not matches(known, saying):
            return "the canary does not say what it said with these weights before"
        if known is None and weights_differ and before == saying:
            return "the canary says exactly what it said with the weights before"
        return None

    def keep(self, fingerprint: str, saying: LogprobTrace) -> None:
        self.said[fingerprint] = saying
        self.last = fingerprint


def trace_of(outputs: list[Any]) -> LogprobTrace:
    """Tokens and log-probabilities of vLLM's outputs, in order."""
    found = []
    for output in outputs:
        answer = output.outputs[0]
        for token, choices in zip(answer.token_ids, answer.logprobs, strict=True):
            found.append((int(token), float(choices[token].logprob)))
    return tuple(found)
