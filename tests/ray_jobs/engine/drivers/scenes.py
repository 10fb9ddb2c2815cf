"""Shared by the drivers of test_warm.py: they caption scenes, as tasks of parts, with the warm engine.

    python DRIVER.py SETTINGS CHECKPOINT...      SETTINGS: {"engine": ..., "scenes": [path...]} as JSON

A driver prints what it found as one line of JSON. It runs in a process of its own, as a stage's job does.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ray import cloudpickle

from ray_jobs.checkpoints import inspect
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.client import warm
from ray_jobs.engine.protocol import EngineJob, EngineReport, build_request
from ray_jobs.job.frame import connect

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the engine's process cannot import this file
connect()

settings, *ARGUMENTS = sys.argv[1:]
ENGINE = Engine(**json.loads(settings)["engine"])
SCENES: list[str] = json.loads(settings)["scenes"]
TASKS: list[dict[str, Any]] = [
    {"part": f"part-{number}", "rows": list(range(number, len(SCENES), 4))} for number in range(4)
]
SAMPLING = {"max_tokens": 32, "temperature": 0.0, "seed": 1}

Ask = Callable[[str, Sequence[int], Any], Iterator[Any]]


def build_requests(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    """One request for each scene of the rows."""
    for row in rows:
        yield build_request(part, row, Path(SCENES[row]).read_bytes(), "describe the image", maker, SAMPLING)


def caption_scenes(
    uri: str, asking: Ask = build_requests, next_checkpoint: str | None = None, engine: Engine = ENGINE
) -> dict[str, Any]:
    """The captions of every scene by this checkpoint, and how the engine came to have its weights."""
    answers, report = [], EngineReport()
    for block in warm.stream_answers(EngineJob(inspect.resolve(uri), engine, TASKS, asking, next_checkpoint)):
        report = block.report
        answers += block.answers
    captions = {answer["key"].split("/")[1]: answer["failure"] or answer["text"] for answer in answers}
    assert len(answers) == len(captions) == len(SCENES), (len(answers), len(captions))
    return {
        "said": [captions[str(row)] for row in range(len(SCENES))],
        "warm": report.warm,
        "told": report.reason,
        "swapped": report.weights_swapped,
        "swap": report.swap_seconds,
        "details": [answer["detail"] for answer in answers if answer["failure"]],
    }


def print_result(result: Any) -> None:
    """Print the result as JSON for the test to read."""
    print(json.dumps(result), flush=True)


def wait_for_test(word: str = "READY") -> None:
    """Print the word, and wait until the test answers with a line."""
    print(word, flush=True)
    sys.stdin.readline()
