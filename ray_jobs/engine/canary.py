"""The canary: fixed pictures that vLLM describes after every weight swap. The actor compares the answers.

The log-probabilities of the answers depend on the weights. If other weights give exactly the same log-probabilities,
they were not loaded. Weights that were loaded before must give the log-probabilities that they gave then.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

PROMPT = "Describe the image in one sentence."
TOKENS = 8
SIDE = 112  # pixels
TOLERANCE = 0.05  # nats, because a GPU may add in another order; in float32 on a CPU nothing changes

LogprobTrace = tuple[tuple[int, float], ...]  # tokens and their log-probabilities (nats), picture after picture


def make_pictures() -> list[Image.Image]:
    """Three pictures of SIDE x SIDE: a gradient, stripes, a disc."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    gradient = np.stack([x * 2, y * 2, 255 - x - y], axis=-1)
    stripes = np.stack([(x // 8 % 2) * 255, (y // 16 % 2) * 200, np.full_like(x, 40)], axis=-1)
    disc = np.where(((x - 56) ** 2 + (y - 50) ** 2 < 900)[..., None], [220, 60, 30], [20, 30, 90])
    return [Image.fromarray(picture.clip(0, 255).astype(np.uint8)) for picture in (gradient, stripes, disc)]


def matches(first: LogprobTrace, second: LogprobTrace) -> bool:
    """Whether the same weights can give both traces: log-probabilities agree up to and at the first other token.

    The tokens differ only if the two are equally likely within the tolerance. After that they prove nothing.
    """
    for (token, logprob), (other, other_logprob) in zip(first, second, strict=True):
        if abs(logprob - other_logprob) > TOLERANCE:
            return False
        if token != other:
            return True
    return True


@dataclass
class Canary:
    """The traces of all checkpoints that this engine has loaded, by fingerprint. `last` is the last fingerprint."""

    traces: dict[str, LogprobTrace]
    last: str = ""

    def find_mismatch(self, fingerprint: str, trace: LogprobTrace, weights_differ: bool) -> str | None:
        """Why the weights in the engine cannot be the checkpoint's; None if they can.

        `weights_differ`: the checkpoint's weights differ from those that the engine had before.
        """
        before, known = self.traces.get(self.last), self.traces.get(fingerprint)
        if known is not None and not matches(known, trace):
            return "the canary does not say what it said with these weights before"
        if known is None and weights_differ and before == trace:
            return "the canary says exactly what it said with the weights before"
        return None

    def remember(self, fingerprint: str, trace: LogprobTrace) -> None:
        self.traces[fingerprint] = trace
        self.last = fingerprint


def trace_of(outputs: list[Any]) -> LogprobTrace:
    """Tokens and log-probabilities of vLLM's outputs, in order."""
    trace = []
    for output in outputs:
        answer = output.outputs[0]
        for token, choices in zip(answer.token_ids, answer.logprobs, strict=True):
            trace.append((int(token), float(choices[token].logprob)))
    return tuple(trace)
