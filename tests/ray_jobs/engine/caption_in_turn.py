"""Captions the scenes by each checkpoint in turn.

    python caption_in_turn.py PROMPT SCENES JOBS      JSON: [path...], [[checkpoint, engine settings]...]

Prints a list of JSON with an entry for each checkpoint: its captions, the engine's kind, whether it was warm and the
reason; or the line of an InputError.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ray_jobs.checkpoints import inspect
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.client.stream import stream_parts
from ray_jobs.engine.protocol import build_request
from ray_jobs.inputs.errors import InputError
from ray_jobs.job import frame

frame.connect()
PROMPT = sys.argv[1]
SCENES: list[str] = json.loads(sys.argv[2])
SAMPLING = {"max_tokens": 32, "temperature": 0.0}


def requests(part: str, rows: Sequence[int], builder: Any) -> Iterator[Any]:
    for row in rows:
        yield build_request(part, row, Path(SCENES[row]).read_bytes(), PROMPT, builder, SAMPLING)


def caption(uri: str, settings: dict[str, Any]) -> list[Any]:
    engine = Engine(**settings)
    checkpoint = inspect.resolve(uri, engine.base_model)
    stream = stream_parts(checkpoint, engine, {"part-0": range(len(SCENES))}, requests, time.time())
    [(_, table)] = stream
    captions = [row["failure"] or row["text"] for row in table.to_pylist()]
    report = stream.timings.report
    return [captions, report.kind, report.warm, report.reason]


results: list[Any] = []
for uri, settings in json.loads(sys.argv[3]):
    try:
        results.append(caption(uri, settings))
    except InputError as error:
        results.append(str(error))
print(json.dumps(results))
