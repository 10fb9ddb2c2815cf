"""Engines: whichever is asked, answers come the same way. `ray_data_llm` is the reference, `warm` outlives its job."""

import logging
from collections.abc import Iterator

from ray_jobs.engine.client import eviction, warm
from ray_jobs.engine.protocol import AnswerBlock, EngineJob

log = logging.getLogger("assay")


def stream_answers(job: EngineJob) -> Iterator[AnswerBlock]:
    """One answer to each request of the job, in blocks of any size and order.

    Raises InputError for a model that cannot be run, RetryableError for an engine that keeps dying.
    """
    if job.engine.kind == "warm":
        if (why := warm.why_not_warm(job.checkpoint, job.engine)) is None:
            yield from warm.stream_answers(job)
            return
        log.info("engine: not a warm one: %s", why)
    from ray_jobs.engine.client import cold  # which takes seconds to import

    answers = cold.stream_answers(job)
    yield from eviction.evict_until_first(answers, job.engine.gpus, "engine")
