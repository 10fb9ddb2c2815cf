"""The loop that captioning and judging share: requests part by part to the engine, answers gathered back into parts.

Answers come in any order and blocks of any size. A part is handed on the moment its last row is there, or block by
block as its rows come; so memory holds only what is in flight, and what was handed on before a kill is not asked again.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.suite import Engine
from ray_jobs.engine.client.engines import stream_answers
from ray_jobs.engine.protocol import Answer, AnswerBlock, EngineJob, EngineReport, Requests
from ray_jobs.inputs.errors import RetryableError

log = logging.getLogger("assay")

MIN_PIECE_ROWS = 4  # of a piece: each reads the images of its part


@dataclass
class EngineTimings:
    """When the first and the last request reached the engine, and the last answer left it (seconds since the epoch);
    and what the engine was to this job."""

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

        Beside them what `EngineReport` says: the change of weights, and what the requests spent in all.
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
        """`answers` and `tokens` a second, from the first request until the last answer."""
        took = self.finished - self.first
        if not self.last or took <= 0:
            return {}
        return {"answers": round(self.answers / took, 2), "tokens": round(self.tokens / took, 1)}


def stream_parts(
    checkpoint: Checkpoint,
    engine: Engine,
    pending: Mapping[str, Sequence[int]],
    requests: Requests,
    times: EngineTimings,
    whole: bool = True,
    next_checkpoint: str | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """Ask the pending rows of each part (their numbers by part's name); yields answers with their `row`, sorted by it.

    `whole` parts come once, when the last of their rows is answered; else a part comes in pieces, the moment they are
    there. `requests` runs in a Ray task and yields one `request` for each of the rows, in order. The checkpoint that is
    `following` may be fetched meanwhile. Raises InputError for a model that cannot be run, RetryableError for an engine
    that keeps dying.
    """
    tasks = [
        {"part": name, "rows": list(some)}
        for name, rows in pending.items()
        for some in ([rows] if whole else _split_rows(rows, max(MIN_PIECE_ROWS, engine.max_num_seqs)))
    ]
    count = sum(len(rows) for rows in pending.values())
    log.info("engine: asking %s %d questions in %d parts", checkpoint.uri, count, len(pending))
    blocks = stream_answers(EngineJob(checkpoint, engine, tasks, requests, next_checkpoint))
    yield from _reassemble(blocks, {name: len(rows) for name, rows in pending.items()}, times, whole)


def _split_rows(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    """Ray hands on what became of one task's rows when the last of them is there: pieces no larger than what the engine
    works on at once."""
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def _reassemble(
    blocks: Iterator[AnswerBlock], pending: dict[str, int], times: EngineTimings, whole: bool
) -> Iterator[tuple[str, pa.Table]]:
    waiting: dict[str, list[Answer]] = {}
    missing, started = dict(pending), False
    for answers, times.report in blocks:
        if answers and not started:
            started = True
            log.info("engine: answering, %.1f s after the start", time.time() - times.began)
        for answer in answers:
            part, row = answer.pop("key").rsplit("/", 1)
            waiting.setdefault(part, []).append(answer | {"row": int(row)})
            missing[part] -= 1
        for part in [name for name in waiting if not (whole and missing[name])]:
            table = pa.Table.from_pylist(sorted(waiting.pop(part), key=lambda answer: answer["row"]))
            times.add(table)
            yield part, table
    if any(missing.values()):
        short = ", ".join(f"{name}: {count} of {pending[name]}" for name, count in sorted(missing.items()) if count)
        raise RetryableError(f"the engine left requests without an answer ({short}); run again")
