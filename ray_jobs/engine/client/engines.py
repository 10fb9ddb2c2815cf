"""Chooses a job's engine: `warm`, which outlives the job, or `ray_data_llm`, the reference. The driver calls it."""

import logging
from collections.abc import Iterator

from ray_jobs.engine.client import eviction, warm
from ray_jobs.engine.protocol import AnswerBlock, EngineJob

log = logging.getLogger("assay")


def stream_answers(job: EngineJob) -> Iterator[AnswerBlock]:
    """One answer to each request of the job, in blocks of any size and order.

    Raises InputError if vLLM cannot run the model, RetryableError if engines keep dying.
    """
    if job.engine.kind == "warm":
        if (why := warm.why_not_warm(job.checkpoint, job.engine)) is None:
            yield from warm.stream_answers(job)
            return
        log.info("engine: not a warm one: %s", why)
    from ray_jobs.engine.client import cold  # here, because it takes seconds to import

    answers = cold.stream_answers(job)
    yield from eviction.evict_until_first(answers, job.engine.gpus, "engine")
