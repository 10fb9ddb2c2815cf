"""The loop that captioning and judging share: requests part by part to the engine, answers gathered back into parts.

Answers come in any order and blocks of any size; a part is handed on the moment its last row is there, so that memory
holds only what is in flight, and what was finished before a kill is never asked again.
"""

import io
import logging
import time
from collections.abc import Callable, Iterator
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


def ask_parts(
    checkpoint: Checkpoint,
    engine: Engine,
    pending: dict[str, int],
    requests: Callable[[str, PromptMaker], Iterator[dict[str, Any]]],
    times: Times,
) -> Iterator[tuple[str, pa.Table]]:
    """Ask everything about the pending parts (name -> rows); yields each part's answers, sorted by `row`, once whole.

    `requests` runs in a Ray task and yields one `request` a row, in order. Raises BadInput for
    a model that cannot be run, Trouble for an engine that keeps dying.
    """
    verify(checkpoint)
    model = fetch_everywhere(checkpoint)
    stop_ids = maker_for(checkpoint).stop_ids
    names = list(pending)

    def requests_of(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        return requests(row["part"], maker_for(checkpoint))

    source = ray.data.from_items([{"part": name} for name in names], override_num_blocks=len(names))
    log.info("engine: starting vLLM on %s for %d images in %d parts", checkpoint.uri, sum(pending.values()), len(names))
    answers = ray_data_llm.ask(source.flat_map(requests_of), model, engine, stop_ids)
    try:
        yield from _gathered(answers, pending, times)
    except Exception as error:
        raise ray_data_llm.explain(error, checkpoint.uri) from error
    verify(checkpoint)


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


def _gathered(answers: "ray.data.Dataset", pending: dict[str, int], times: Times) -> Iterator[tuple[str, pa.Table]]:
    waiting: dict[str, list[dict[str, Any]]] = {}
    started = False
    for block in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
        if not started:
            started = True
            log.info("engine: answering, %.1f s after the start", time.time() - times.began)
        for answer in block.to_pylist():
            part, row = answer.pop("key").rsplit("/", 1)
            waiting.setdefault(part, []).append(answer | {"row": int(row)})
            if len(waiting[part]) == pending[part]:
                table = pa.Table.from_pylist(sorted(waiting.pop(part), key=lambda answer: answer["row"]))
                times.add(table)
                yield part, table
    if waiting:
        short = ", ".join(f"{name}: {len(rows)} of {pending[name]}" for name, rows in sorted(waiting.items()))
        raise Trouble(f"the engine did not answer every request ({short}); run again")
