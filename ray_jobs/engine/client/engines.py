"""Engines: whichever is asked, answers come the same way. `ray_data_llm` is the reference, `warm` outlives its job."""

import logging
from collections.abc import Iterator

from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.suite import Engine
from ray_jobs.engine.client import session, warm
from ray_jobs.engine.protocol import Answer, EngineReport, Requests, Task

log = logging.getLogger("assay")


def stream_answers(
    checkpoint: Checkpoint,
    engine: Engine,
    tasks: list[Task],
    requests: Requests,
    served: EngineReport,
    following: str | None = None,
) -> Iterator[list[Answer]]:
    """Answers to what `requests` asks about the tasks' rows, one each, in blocks of any size and order.

    A warm engine fetches the checkpoint `following` meanwhile. Raises InputError for a model that cannot be run,
    RetryableError for an engine that keeps dying.
    """
    if engine.kind == "warm":
        if (why := warm.why_not_warm(checkpoint, engine)) is None:
            yield from warm.stream_answers(checkpoint, engine, tasks, requests, served, following)
            return
        log.info("engine: not a warm one: %s", why)
    from ray_jobs.engine.client import cold  # which takes seconds to import

    answers = cold.stream_answers(checkpoint, engine, tasks, requests, served)
    yield from session.evict_until_first(answers, engine.gpus, "engine")
