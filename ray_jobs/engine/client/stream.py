"""Streams the rows of parts through an engine, and reassembles the answers into parts.

The drivers of `caption` and `evaluate` (for the judge) call it. The engine is `warm`, which outlives the job, or
`ray_data_llm`, the reference. Answers come in any order and in blocks of any size. A part is yielded when its last row
is answered, or in pieces as its rows are. So memory holds only the rows in flight, and a caller that stores each part
asks no row of it again after a kill.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.chosen_settings import DEFAULT_SEQUENCES, EXPECTED, Workload
from ray_jobs.engine.client import eviction, warm
from ray_jobs.engine.protocol import Answer, AnswerBlock, EngineJob, EngineReport, Requests
from ray_jobs.inputs.errors import RetryableError

log = logging.getLogger("assay")

MIN_PIECE_ROWS = 4  # because each piece reads the images of its part again


@dataclass
class EngineTimings:
    """When the first and the last request reached the engine, and when the last answer left it, in seconds since the
    epoch. `report` is the engine's report."""

    began: float
    first: float = float("inf")
    last: float = 0.0
    finished: float = 0.0
    answers: int = 0
    tokens: int = 0
    report: EngineReport = field(default_factory=EngineReport)

    def add(self, answers: pa.Table) -> None:
        self.answers += answers.num_rows
        self.tokens += sum(answers["tokens"].to_pylist())
        for arrived, finished in zip(answers["arrived"].to_pylist(), answers["finished"].to_pylist(), strict=True):
            if arrived:
                self.first, self.last = min(self.first, arrived), max(self.last, arrived)
                self.finished = max(self.finished, finished)

    def seconds(self) -> dict[str, float]:
        """`cold_start`: until the first request reached the engine; `steady`: until the last did; `tail`: the rest.

        The seconds of `EngineReport` are added: the weight swap, and the phases of all requests.
        """
        if not self.last:
            return {}
        return {
            "cold_start": round(self.first - self.began, 3),
            "steady": round(self.last - self.first, 3),
            "tail": round(self.finished - self.last, 3),
            **self.report.seconds(),
        }

    def rates(self) -> dict[str, float]:
        """`answers` and `tokens` per second, from the first request until the last answer."""
        took = self.finished - self.first
        if not self.last or took <= 0:
            return {}
        return {"answers": round(self.answers / took, 2), "tokens": round(self.tokens / took, 1)}


class PartStream:
    """Iterates once over the names of parts and their answers, sorted by `row`. `timings` covers the answers so far.

    With `whole_parts`, each part is yielded once, when its last row is answered. Else each part is yielded in pieces,
    as its answers come. `on_ready` is called once, when the first engine has loaded the checkpoint. Iterating raises
    InputError if vLLM cannot run the model, RetryableError if engines keep dying.
    """

    def __init__(
        self, blocks: Iterator[AnswerBlock], pending: Mapping[str, int], began: float, whole_parts: bool
    ) -> None:
        self.timings = EngineTimings(began)
        self.on_ready: Callable[[], None] = lambda: None
        self._blocks, self._pending, self._whole_parts = blocks, pending, whole_parts

    def __iter__(self) -> Iterator[tuple[str, pa.Table]]:
        timings, missing = self.timings, dict(self._pending)
        waiting: dict[str, list[Answer]] = {}
        started = False
        for number, (answers, timings.report) in enumerate(self._blocks):
            if number == 0:
                self.on_ready()
            if answers and not started:
                started = True
                log.info("engine: answering, %.1f s after the start", time.time() - timings.began)
            for answer in answers:
                part, row = answer.pop("key").rsplit("/", 1)
                waiting.setdefault(part, []).append(answer | {"row": int(row)})
                missing[part] -= 1
            for part in [name for name in waiting if not (self._whole_parts and missing[name])]:
                table = pa.Table.from_pylist(sorted(waiting.pop(part), key=lambda answer: answer["row"]))
                timings.add(table)
                yield part, table
        if short := [f"{name}: {count} of {self._pending[name]}" for name, count in sorted(missing.items()) if count]:
            raise RetryableError(f"the engine left requests without an answer ({', '.join(short)}); run again")


def stream_parts(
    checkpoint: Checkpoint,
    engine: Engine,
    pending: Mapping[str, Sequence[int]],
    requests: Requests,
    began: float,
    whole_parts: bool = True,
    next_checkpoint: str | None = None,
    workload: Workload = EXPECTED,
) -> PartStream:
    """The answers for the pending rows (numbers by part's name), part by part. `began` is when the job began.

    `requests` runs beside the engine and yields one request per row, in order. The engine may fetch `next_checkpoint`
    meanwhile. With `whole_parts`, a part is one task of the engine; else it is cut into tasks.
    """
    piece = max(MIN_PIECE_ROWS, engine.max_num_seqs or DEFAULT_SEQUENCES)
    tasks = [
        {"part": name, "rows": list(task_rows)}
        for name, rows in pending.items()
        for task_rows in ([rows] if whole_parts else _split_rows(rows, piece))
    ]
    sizes = {name: len(rows) for name, rows in pending.items()}
    log.info("engine: asking %s %d questions in %d parts", checkpoint.uri, sum(sizes.values()), len(pending))
    job = EngineJob(checkpoint, engine, tasks, requests, next_checkpoint, workload)
    if engine.kind == "warm" and (why := warm.why_not_warm(checkpoint, engine)) is None:
        return PartStream(warm.stream_answers(job), sizes, began, whole_parts)
    if engine.kind == "warm":
        log.info("engine: not a warm one: %s", why)
    from ray_jobs.engine.client import cold  # here, because it takes seconds to import

    blocks = eviction.evict_until_first(cold.stream_answers(job), engine.gpus, "engine")
    return PartStream(blocks, sizes, began, whole_parts)


def _split_rows(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    """The rows in pieces of at most `size`.

    Ray returns a task's answers only when its last row is answered. So no piece is larger than what the engine works on
    at once.
    """
    return [rows[first : first + size] for first in range(0, len(rows), size)]
