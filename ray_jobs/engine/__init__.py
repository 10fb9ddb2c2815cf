"""Engines: whichever is asked, answers come the same way. `ray_data_llm` is the reference, `warm` outlives its job."""

import logging
from collections.abc import Iterator

from ray_jobs.contract import Checkpoint, Engine
from ray_jobs.engine import holding, warm
from ray_jobs.engine.asked import Answer, Requests, Served, Task

log = logging.getLogger("assay")


def ask(
    checkpoint: Checkpoint,
    engine: Engine,
    tasks: list[Task],
    requests: Requests,
    served: Served,
    following: str | None = None,
) -> Iterator[list[Answer]]:
    """Answers to what `requests` asks about the tasks' rows, one each, in blocks of any size and order.

    A warm engine fetches the checkpoint `following` meanwhile. Raises BadInput for a model that cannot be run, Trouble
    for an engine that keeps dying.
    """
    if engine.kind == "warm":
        if (why := warm.unfit(checkpoint, engine)) is None:
            yield from warm.ask(checkpoint, engine, tasks, requests, served, following)
            return
        log.info("engine: not a warm one: %s", why)
    from ray_jobs.engine import ray_data_llm  # which takes seconds to import

    answers = ray_data_llm.ask(checkpoint, engine, tasks, requests, served)
    yield from holding.with_room(answers, engine.gpus, "engine")
