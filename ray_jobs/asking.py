"""The loop that captioning and judging share: requests part by part to the engine, answers gathered back into parts.

Answers come in any order and blocks of any size. A part is handed on the moment its last row is there, or block by
block as its rows come; so memory holds only what is in flight, and what was handed on before a kill is not asked again.
"""

import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from PIL import Image
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_jobs.checkpoint import fetch, verify
from ray_jobs.contract import Checkpoint, Engine, Trouble
from ray_jobs.engine import ray_data_llm
from ray_jobs.engine.prompt import PromptMaker, maker_for

log = logging.getLogger("assay")

LEAST_ROWS = 4  # of a piece: each reads the images of its part


@dataclass
class Times:
    """When the first and the last request reached the engine, and the last answer left it (seconds since the epoch)."""

    began: float
    first: float = float("inf")
    last: float = 0.0
    finished: float = 0.0

    def add(self, answers: pa.Table) -> None:
        for arrived, finished in zip(answers["arrived"].to_pylist(), answers["finished"].to_pylist(), strict=True):
            if arrived:
                self.first, self.last = min(self.first, arrived), max(self.last, arrived)
                self.finished = max(self.finished, finished)

    def seconds(self) -> dict[str, float]:
        """`cold_start`: until the first request reached the engine; `steady`: until the last did; `tail`: the rest."""
        if not self.last:
            return {}
        return {
            "cold_start": round(self.first - self.began, 3),
            "steady": round(self.last - self.first, 3),
            "tail": round(self.finished - self.last, 3),
        }


Requests = Callable[[str, Sequence[int], PromptMaker], Iterator[dict[str, Any]]]


def ask_parts(
    checkpoint: Checkpoint,
    engine: Engine,
    pending: Mapping[str, Sequence[int]],
    requests: Requests,
    times: Times,
    whole: bool = True,
) -> Iterator[tuple[str, pa.Table]]:
    """Ask the pending rows of each part (their numbers by part's name); yields answers with their `row`, sorted by it.

    `whole` parts come once, when the last of their rows is answered; else a part comes in pieces, the moment they are
    there. `requests` runs in a Ray task and yields one `request` for each of the rows, in order. Raises BadInput for a
    model that cannot be run, Trouble for an engine that keeps dying.
    """
    verify(checkpoint)
    model = fetch_everywhere(checkpoint)
    stop_ids = maker_for(checkpoint).stop_ids
    tasks = [
        {"part": name, "rows": list(some)}
        for name, rows in pending.items()
        for some in ([rows] if whole else _cut(rows, max(LEAST_ROWS, engine.max_num_seqs)))
    ]

    def requests_of(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        return requests(task["part"], task["rows"], maker_for(checkpoint))

    source = ray.data.from_items(tasks, override_num_blocks=len(tasks))
    count = sum(len(rows) for rows in pending.values())
    log.info("engine: starting vLLM on %s for %d questions in %d parts", checkpoint.uri, count, len(pending))
    answers = ray_data_llm.ask(source.flat_map(requests_of), model, engine, stop_ids)
    try:
        yield from _gathered(answers, {name: len(rows) for name, rows in pending.items()}, times, whole)
    except Exception as error:
        raise ray_data_llm.explain(error, checkpoint.uri) from error
    verify(checkpoint)


def _cut(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    """Ray hands on what became of one task's rows when the last of them is there: pieces no larger than what the engine
    works on at once."""
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def request(
    part: str, row: int, image: bytes, text: str, maker: PromptMaker, sampling: dict[str, Any]
) -> dict[str, Any]:
    """The request about one golden image: `text` is what the user asks."""
    pixels = Image.open(io.BytesIO(image)).convert("RGB")
    prompt = maker.prompt(text)
    return {
        "key": f"{part}/{row}",
        "prompt": prompt,
        "multimodal_data": {"image": pixels},
        "sampling_params": sampling,
        "least_tokens": maker.expected_tokens(prompt, pixels.width, pixels.height),
    }


def fetch_everywhere(checkpoint: Checkpoint) -> Path:
    """Have the checkpoint on every node before the engine needs it; its path, the same on each."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    copy = ray.remote(num_cpus=0)(fetch)
    placed = [copy.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)) for node in nodes]
    copies: list[Path] = ray.get([task.remote(checkpoint) for task in placed])
    return copies[0]


def _gathered(
    answers: "ray.data.Dataset", pending: dict[str, int], times: Times, whole: bool
) -> Iterator[tuple[str, pa.Table]]:
    waiting: dict[str, list[dict[str, Any]]] = {}
    missing, started = dict(pending), False
    for block in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
        if not started:
            started = True
            log.info("engine: answering, %.1f s after the start", time.time() - times.began)
        for answer in block.to_pylist():
            part, row = answer.pop("key").rsplit("/", 1)
            waiting.setdefault(part, []).append(answer | {"row": int(row)})
            missing[part] -= 1
        for part in [name for name in waiting if not (whole and missing[name])]:
            table = pa.Table.from_pylist(sorted(waiting.pop(part), key=lambda answer: answer["row"]))
            times.add(table)
            yield part, table
    if any(missing.values()):
        short = ", ".join(f"{name}: {count} of {pending[name]}" for name, count in sorted(missing.items()) if count)
        raise Trouble(f"the engine left requests without an answer ({short}); run again")
