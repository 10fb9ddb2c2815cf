"""Asks an endpoint all questions of a job, and stores each answer as it arrives. A circuit breaker detects an outage.

The driver of `evaluate` runs it. All requests come from this process, so `judge.concurrency` bounds the whole job. An
outage must not cost hours, and must not be recorded as failures of images. So a failure is held back until the endpoint
answers a question that was asked later. After too many failures in a row, and if failures are left at the end, a
question that has an answer is asked again as a probe. If the probe fails too, the job ends.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ray_jobs.judge.answer_store import Answer
from ray_jobs.judge.endpoint import MODEL_FAILURES, Endpoint, Reply
from ray_jobs.judge.outage import MIN_DENIED, explain_account, explain_outage, is_denied
from ray_jobs.judge.questions import Question
from ray_jobs.runtime.progress import Progress

Item = tuple[str, Question, bytes]  # the part, the question, its image


@dataclass(frozen=True)
class HeldFailure:
    """A failure that the endpoint may have caused, and not the image. `failed_at` is seconds of the monotonic clock."""

    part: str
    answer: Answer
    reply: Reply
    failed_at: float


@dataclass
class EndpointRun:
    """The state of the run. `is_proven`: the endpoint has given this run a valid answer.

    `questions_left` counts the open questions by part. `load_probe_item` loads a question that has a valid answer, for
    a probe. `first_item` is the first question that was asked. `held_failures` has the failures that are held back.
    `consecutive_failures` counts failures since the last answer.
    """

    endpoint: Endpoint
    run: str
    save: Callable[[str, Answer], None]
    finish_part: Callable[[str], None]
    progress: Progress
    questions_left: dict[str, int]
    is_proven: bool
    load_probe_item: Callable[[], Item] | None
    first_item: Item | None = None
    held_failures: list[HeldFailure] = field(default_factory=list)
    consecutive_failures: int = 0
    breaker_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, item: Item) -> None:
        """Ask the question and record the reply. A failure is held back while the endpoint may be its cause."""
        part, question, image = item
        self.first_item, began = self.first_item or item, time.monotonic()
        reply = await self._request_reply(question, image)
        answer = self._build_answer(question, reply)
        if reply.failure is None:
            self.is_proven, self.load_probe_item = True, lambda: item
        if not self.is_proven or (reply.failure and reply.failure not in MODEL_FAILURES):
            self.held_failures.append(HeldFailure(part, answer, reply, time.monotonic()))
            self.consecutive_failures += 1
            await self._give_up_when_down()
            return
        self.consecutive_failures = 0
        await self.record(part, answer)
        await self._record_failures_before(began)

    async def probe(self) -> None:
        """Ask an answered question again, or the first question if none is answered.

        If the endpoint answers, record the failures that were held back until then. Else raise the outage.
        """
        outage, began = self.outage_error(), time.monotonic()
        item = await asyncio.to_thread(self.load_probe_item) if self.load_probe_item else self.first_item
        assert item
        part, question, image = item
        reply = await self._request_reply(question, image)
        if reply.failure and not (self.load_probe_item and reply.failure in MODEL_FAILURES):
            raise outage
        if not self.load_probe_item:
            # An answer outranks the earlier failure of the same question.
            await asyncio.to_thread(self.save, part, self._build_answer(question, reply))
        self.is_proven, self.consecutive_failures = True, 0
        await self._record_failures_before(began)

    async def record(self, part: str, answer: Answer) -> None:
        await asyncio.to_thread(self.save, part, answer)
        self.progress.add(1, f"the last failed: {answer.failure}" if answer.failure else "")
        self.questions_left[part] -= 1
        if not self.questions_left[part]:
            await asyncio.to_thread(self.finish_part, part)

    async def _request_reply(self, question: Question, image: bytes) -> Reply:
        reply = await self.endpoint.ask(question.text, image, question.is_pair)
        if error := explain_account(self.endpoint.judge, reply):
            raise error
        return reply

    def _build_answer(self, question: Question, reply: Reply) -> Answer:
        return Answer(
            question.key, reply.text, reply.failure, reply.detail, reply.prompt_tokens, reply.tokens, self.run,
            time.time(), reply.served_by,
        )  # fmt: skip

    async def _record_failures_before(self, began: float) -> None:
        """Record the failures from before this time. The endpoint was up, because it answered a later question."""
        ready = [failure for failure in self.held_failures if failure.failed_at <= began]
        self.held_failures = [failure for failure in self.held_failures if failure.failed_at > began]
        for failure in ready:
            await self.record(failure.part, failure.answer)

    async def _give_up_when_down(self) -> None:
        async with self.breaker_lock:  # one worker probes, the others wait for the result
            denied = (
                not self.is_proven and sum(is_denied(failure.reply) for failure in self.held_failures) >= MIN_DENIED
            )
            if not denied and self.consecutive_failures < 3 * self.endpoint.judge.concurrency:
                return
            if not self.load_probe_item:
                raise self.outage_error()
            await self.probe()

    def outage_error(self) -> Exception:
        """The error that the held failures mean."""
        return explain_outage(
            self.endpoint.judge, [failure.reply for failure in self.held_failures], self.load_probe_item is not None
        )


def ask_endpoint(
    endpoint: Endpoint,
    pending: Mapping[str, Sequence[int]],
    load: Callable[[str, Sequence[int]], list[tuple[Question, bytes]]],
    save: Callable[[str, Answer], None],
    finish_part: Callable[[str], None],
    progress: Progress,
    run: str,
    is_proven: bool,
    answered_question: tuple[str, int] | None,
) -> None:
    """Ask the pending questions (numbers by part), `judge.concurrency` at a time.

    `load` loads questions with their images, `save` stores an answer, `finish_part` is called when a part is done.
    `is_proven`: this run has a valid answer already. `answered_question`: the part and number of a question that has an
    answer of any run. Raises InputError if the endpoint will never answer, and RetryableError if it is down.
    """

    def load_probe_item() -> Item:
        assert answered_question
        part, number = answered_question
        return (part, *load(part, [number])[0])

    questions_left = {part: len(numbers) for part, numbers in pending.items()}
    load_probe = load_probe_item if answered_question else None
    endpoint_run = EndpointRun(endpoint, run, save, finish_part, progress, questions_left, is_proven, load_probe)
    asyncio.run(_run_workers(endpoint_run, pending, load))


async def _run_workers(
    endpoint_run: EndpointRun,
    pending: Mapping[str, Sequence[int]],
    load: Callable[[str, Sequence[int]], list[tuple[Question, bytes]]],
) -> None:
    workers = min(endpoint_run.endpoint.judge.concurrency, sum(endpoint_run.questions_left.values()))
    queue: asyncio.Queue[Item | None] = asyncio.Queue(workers)

    async def feed() -> None:
        async for item in _load_items(pending, load):
            await queue.put(item)
        for _ in range(workers):
            await queue.put(None)

    async def work() -> None:
        while (item := await queue.get()) is not None:
            await endpoint_run.ask(item)

    async with endpoint_run.endpoint.client:
        try:
            async with asyncio.TaskGroup() as group:
                for worker in (feed, *[work] * workers):
                    group.create_task(worker())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        if endpoint_run.held_failures:
            await endpoint_run.probe()


async def _load_items(
    pending: Mapping[str, Sequence[int]], load: Callable[[str, Sequence[int]], list[tuple[Question, bytes]]]
) -> AsyncIterator[Item]:
    for part, numbers in pending.items():
        for question, image in await asyncio.to_thread(load, part, numbers):
            yield part, question, image
