"""Captions the golden set of a spec with a stand-in for the engine: an actor that answers without a model.

    .assay/data/bin/python -m benchmarks.stand_in_engine --spec URI

THIS IS NO ENGINE, and its captions say so. It loads the driver, the store and the parts as `server/actor.py` does: the
driver finds it by name, leases it and sends it tasks. It reads each task's golden part and opens each image, and its
answers have the columns and the size of real ones. `benchmarks.scale` runs it to measure the rest of a captions job.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ray_jobs import caption
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.engine.client import session
from ray_jobs.engine.protocol import Answer, Requests, Task
from ray_jobs.job import frame

CAPTION = "stand-in engine, no model: image {key}, {width} x {height}"
PHASES = {"render": 0.001, "queue": 0.001, "prefill": 0.001, "decode": 0.001}


class StandInPromptBuilder:
    """Has the methods that `build_request` calls, without a tokenizer."""

    def prompt(self, text: str) -> str:
        return text

    def tokens(self, prompt: str) -> list[int]:
        return [0] * len(prompt)

    def least_tokens(self, prompt: str, width: int, height: int) -> int:
        return len(prompt)


class StandInEngine:
    """An actor with the methods of `WarmEngine` that a driver calls. It has no weights, and any token has its lease."""

    def __init__(self, checkpoint: Checkpoint, engine: Engine, has_gpu: bool, token: str) -> None:
        self._prompts: Any = StandInPromptBuilder()

    async def acquire(self, token: str, wait: float) -> bool:
        return True

    async def renew(self, token: str) -> None: ...

    async def release(self, token: str) -> None: ...

    async def gpu_seconds(self, token: str) -> dict[str, float]:
        return {}

    async def load_checkpoint(self, token: str, checkpoint: Checkpoint) -> dict[str, Any]:
        return {"warm": False, "reason": "a stand-in without a model", "seconds": 0.0}

    async def answer_task(self, token: str, fingerprint: str, requests: Requests, task: Task) -> list[Answer]:
        return list(self._answer(requests, task["part"], task["rows"]))

    def _answer(self, requests: Requests, part: str, rows: Sequence[int]) -> Iterator[Answer]:
        for request in requests(part, rows, self._prompts):
            now, pixels = time.time(), request["multimodal_data"]["image"]
            text = CAPTION.format(key=request["key"], width=pixels.width, height=pixels.height)
            yield {
                "key": request["key"], "text": text, "finish_reason": "stop", "prompt_tokens": request["least_tokens"],
                "tokens": 12, "arrived": now, "finished": now, "failure": None, "detail": None, **PHASES,
            }  # fmt: skip


def caption_with_stand_in(spec: Spec) -> None:
    """Complete the captions of the spec, with the stand-in in the engine's place."""
    session.WarmEngine = StandInEngine  # type: ignore[assignment, attr-defined]  # the driver starts the actor by this name
    print("stand-in engine: no model answers", flush=True)
    caption.caption(spec)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stand_in_engine")
    parser.add_argument("--spec", required=True)
    sys.exit(frame.run("caption", caption_with_stand_in, parser.parse_args().spec))
