"""The judge behind an endpoint: a job's questions asked from one process, each answer durable the moment it arrives.

One process, so that `judge.concurrency` bounds the whole job; it waits for the endpoint, not for a CPU. An endpoint
that is down must neither burn hours nor have its outage recorded as failures of images: failures are held back until
an answer proves that the endpoint is up, and too many in a row end the job.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ray_jobs.contract import BadInput, Trouble
from ray_jobs.judge.answers import Answer
from ray_jobs.judge.endpoint import NOT_ASKED, Endpoint, Reply, shown
from ray_jobs.judge.questions import Question
from ray_jobs.progress import Progress

DENIED = {403: 3, 404: 3}  # how often before it is believed: one caption alone may displease a firewall


@dataclass
class Asking:
    """What is under way: `proven` when the endpoint has given a valid answer to this run, `left` counts by part."""

    endpoint: Endpoint
    run: str
    keep: Callable[[str, Answer], None]
    whole: Callable[[str], None]
    progress: Progress
    left: dict[str, int]
    proven: bool
    held: list[tuple[str, Answer, int | None]] = field(default_factory=list)

    async def settle(self, part: str, question: Question, reply: Reply) -> None:
        """Record the reply, or hold it back while it says more of the endpoint than of the image."""
        answer = Answer(
            question.key, reply.text, reply.failure, reply.detail, reply.prompt_tokens, reply.tokens, self.run,
            time.time(),
        )  # fmt: skip
        if reply.status == 401:
            raise BadInput(f"judge {shown(self.endpoint.judge)}: 401, not this key; correct {self._variable}")
        self.proven = self.proven or reply.failure is None
        if not self.proven or (reply.failure and reply.failure not in NOT_ASKED):
            self.held.append((part, answer, reply.status))
            self._give_up_when_down()
            return
        await self.record(part, answer)
        await self.release()

    async def release(self) -> None:
        """Record what was held back: the endpoint is up, so these are failures of their own."""
        held, self.held = self.held, []
        for part, answer, _ in held:
            await self.record(part, answer)

    async def record(self, part: str, answer: Answer) -> None:
        await asyncio.to_thread(self.keep, part, answer)
        self.progress.add(1, f"the last failed: {answer.failure}" if answer.failure else "")
        self.left[part] -= 1
        if not self.left[part]:
            await asyncio.to_thread(self.whole, part)

    def _give_up_when_down(self) -> None:
        if not self.proven:
            for status, often in DENIED.items():
                if [one for _, _, one in self.held].count(status) >= often:
                    raise self.down()
        if len(self.held) >= 3 * self.endpoint.judge.concurrency:
            raise self.down()

    def down(self) -> Exception:
        """What the failures that are held back mean when they are all there is."""
        judge, (_, last, status) = self.endpoint.judge, self.held[-1]
        told = f"judge {shown(judge)}: {len(self.held)} answers in a row failed, the last: {last.failure}"
        told += f" ({last.detail})" if last.detail else ""
        if status in DENIED:
            return BadInput(f"{told}; check base_url, model and what the key in {self._variable} may do")
        if all(answer.failure == "request-rejected" for _, answer, _ in self.held):
            return BadInput(f"{told}; check that this model takes images and this many tokens")
        if all(answer.failure in NOT_ASKED for _, answer, _ in self.held):
            return BadInput(f"{told}; this model does not do what the prompt asks, change one of them")
        return Trouble(f"{told}; what is answered is kept, run again when it is up")

    @property
    def _variable(self) -> str:
        return self.endpoint.judge.key_variable


def ask_endpoint(
    endpoint: Endpoint,
    pending: Mapping[str, Sequence[int]],
    load: Callable[[str, Sequence[int]], list[tuple[Question, bytes]]],
    keep: Callable[[str, Answer], None],
    whole: Callable[[str], None],
    progress: Progress,
    run: str,
    proven: bool,
    known: bool,
) -> None:
    """Ask the pending questions (numbers by part), `judge.concurrency` at a time.

    `load` gives the questions with their images, `keep` makes an answer durable, `whole` is told when a part is done.
    `proven`: this run has a valid answer already. `known`: some of its questions have one, whoever asked. Raises
    BadInput for an endpoint that will never answer and Trouble for one that is down.
    """
    left = {part: len(numbers) for part, numbers in pending.items()}
    asyncio.run(_ask(Asking(endpoint, run, keep, whole, progress, left, proven), pending, load, known))


async def _ask(
    asking: Asking,
    pending: Mapping[str, Sequence[int]],
    load: Callable[[str, Sequence[int]], list[tuple[Question, bytes]]],
    known: bool,
) -> None:
    workers = min(asking.endpoint.judge.concurrency, sum(asking.left.values()))
    queue: asyncio.Queue[tuple[str, Question, bytes] | None] = asyncio.Queue(workers)

    async def feed() -> None:
        async for item in _loaded(pending, load):
            await queue.put(item)
        for _ in range(workers):
            await queue.put(None)

    async def work() -> None:
        while (item := await queue.get()) is not None:
            part, question, image = item
            await asking.settle(part, question, await asking.endpoint.ask(question.text, image, question.pair))

    try:
        async with asking.endpoint.client, asyncio.TaskGroup() as group:
            for worker in (feed, *[work] * workers):
                group.create_task(worker())
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    if asking.held and not (asking.proven or known):
        raise asking.down()
    await asking.release()


async def _loaded(
    pending: Mapping[str, Sequence[int]], load: Callable[[str, Sequence[int]], list[tuple[Question, bytes]]]
) -> AsyncIterator[tuple[str, Question, bytes]]:
    for part, numbers in pending.items():
        for question, image in await asyncio.to_thread(load, part, numbers):
            yield part, question, image
