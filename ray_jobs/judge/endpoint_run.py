"""The judge behind an endpoint: a job's questions asked from one process, each answer durable the moment it arrives.

One process, so that `judge.concurrency` bounds the whole job; it waits for the endpoint, not for a CPU. An endpoint
that is down must neither burn hours nor have its outage recorded as failures of images: a failure is held back until an
answer to what was asked after it proves that the endpoint is up. Too many in a row, or some left at the end, and a
question that was answered before is asked once more: no answer to that either ends the job.
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
    """A failure that may be the endpoint's; `at` in seconds of the monotonic clock."""

    part: str
    answer: Answer
    reply: Reply
    at: float


@dataclass
class EndpointRun:
    """What is under way: `proven` when the endpoint has given a valid answer to this run, `left` counts by part.

    `answered` gives a question that has a valid answer, `first` is the first that was asked; `consecutive_failures`
    counts failures since the last answer.
    """

    endpoint: Endpoint
    run: str
    keep: Callable[[str, Answer], None]
    whole: Callable[[str], None]
    progress: Progress
    left: dict[str, int]
    proven: bool
    answered: Callable[[], Item] | None
    first: Item | None = None
    held: list[HeldFailure] = field(default_factory=list)
    consecutive_failures: int = 0
    breaker_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, item: Item) -> None:
        """Ask, and record the reply, or hold it back while it says more of the endpoint than of the image."""
        part, question, image = item
        self.first, began = self.first or item, time.monotonic()
        reply = await self._reply(question, image)
        answer = self._answer(question, reply)
        if reply.failure is None:
            self.proven, self.answered = True, lambda: item
        if not self.proven or (reply.failure and reply.failure not in MODEL_FAILURES):
            self.held.append(HeldFailure(part, answer, reply, time.monotonic()))
            self.consecutive_failures += 1
            await self._give_up_when_down()
            return
        self.consecutive_failures = 0
        await self.record(part, answer)
        await self._release(began)

    async def prove(self) -> None:
        """Ask once more what has an answer, or the first question where nothing has: where that fails, so did the
        endpoint, which is raised; else what was held back until then is recorded."""
        down, began = self.down(), time.monotonic()
        item = await asyncio.to_thread(self.answered) if self.answered else self.first
        assert item
        part, question, image = item
        reply = await self._reply(question, image)
        if reply.failure and not (self.answered and reply.failure in MODEL_FAILURES):
            raise down
        if not self.answered:
            await asyncio.to_thread(self.keep, part, self._answer(question, reply))  # it stands before its failure
        self.proven, self.consecutive_failures = True, 0
        await self._release(began)

    async def record(self, part: str, answer: Answer) -> None:
        await asyncio.to_thread(self.keep, part, answer)
        self.progress.add(1, f"the last failed: {answer.failure}" if answer.failure else "")
        self.left[part] -= 1
        if not self.left[part]:
            await asyncio.to_thread(self.whole, part)

    async def _reply(self, question: Question, image: bytes) -> Reply:
        reply = await self.endpoint.ask(question.text, image, question.pair)
        if error := explain_account(self.endpoint.judge, reply):
            raise error
        return reply

    def _answer(self, question: Question, reply: Reply) -> Answer:
        return Answer(
            question.key, reply.text, reply.failure, reply.detail, reply.prompt_tokens, reply.tokens, self.run,
            time.time(), reply.served_by,
        )  # fmt: skip

    async def _release(self, began: float) -> None:
        """Record what was held back before the question was asked whose answer is there: these failed by themselves."""
        ready = [one for one in self.held if one.at <= began]
        self.held = [one for one in self.held if one.at > began]
        for one in ready:
            await self.record(one.part, one.answer)

    async def _give_up_when_down(self) -> None:
        async with self.breaker_lock:  # one doubts, the others wait for what comes of it
            denied = not self.proven and sum(is_denied(held.reply) for held in self.held) >= MIN_DENIED
            if not denied and self.consecutive_failures < 3 * self.endpoint.judge.concurrency:
                return
            if not self.answered:
                raise self.down()
            await self.prove()

    def down(self) -> Exception:
        """What the failures that are held back mean when they are all there is."""
        return explain_outage(self.endpoint.judge, [held.reply for held in self.held], self.answered is not None)


def ask_endpoint(
    endpoint: Endpoint,
    pending: Mapping[str, Sequence[int]],
    load: Callable[[str, Sequence[int]], list[tuple[Question, bytes]]],
    keep: Callable[[str, Answer], None],
    whole: Callable[[str], None],
    progress: Progress,
    run: str,
    proven: bool,
    known: tuple[str, int] | None,
) -> None:
    """Ask the pending questions (numbers by part), `judge.concurrency` at a time.

    `load` gives the questions with their images, `keep` makes an answer durable, `whole` is told when a part is done.
    `proven`: this run has a valid answer already. `known`: a question that has one, whoever asked. Raises InputError
    for an endpoint that will never answer and RetryableError for one that is down.
    """

    def answered() -> Item:
        assert known
        part, number = known
        return (part, *load(part, [number])[0])

    left = {part: len(numbers) for part, numbers in pending.items()}
    asking = EndpointRun(endpoint, run, keep, whole, progress, left, proven, answered if known else None)
    asyncio.run(_run_workers(asking, pending, load))


async def _run_workers(
    asking: EndpointRun,
    pending: Mapping[str, Sequence[int]],
    load: Callable[[str, Sequence[int]], list[tuple[Question, bytes]]],
) -> None:
    workers = min(asking.endpoint.judge.concurrency, sum(asking.left.values()))
    queue: asyncio.Queue[Item | None] = asyncio.Queue(workers)

    async def feed() -> None:
        async for item in _load_items(pending, load):
            await queue.put(item)
        for _ in range(workers):
            await queue.put(None)

    async def work() -> None:
        while (item := await queue.get()) is not None:
            await asking.ask(item)

    async with asking.endpoint.client:
        try:
            async with asyncio.TaskGroup() as group:
                for worker in (feed, *[work] * workers):
                    group.create_task(worker())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        if asking.held:
            await asking.prove()


async def _load_items(
    pending: Mapping[str, Sequence[int]], load: Callable[[str, Sequence[int]], list[tuple[Question, bytes]]]
) -> AsyncIterator[Item]:
    for part, numbers in pending.items():
        for question, image in await asyncio.to_thread(load, part, numbers):
            yield part, question, image
