"""What the judge is asked, and, where a person wants to know, what it answers."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ray_jobs.checks.images import Looked
from ray_jobs.contract.suite import Judge
from ray_jobs.images.prepare import Golden
from ray_jobs.judge import rubric as judging
from ray_jobs.judge.endpoint import Reply, connected
from ray_jobs.judge.outage import explain_account, explain_outage

STAND_IN = "A photo."  # where an image has no reference that could be its caption


@dataclass(frozen=True)
class Asked:
    """A question about one image, whose caption is its first reference; the answer, or why there is none."""

    question: str
    answer: str | None = None
    values: str = ""


def question(judge: Judge, references: Sequence[str]) -> str:
    """What the judge is asked about an image whose caption is its first reference."""
    return judging.question(judge, references[0] if references else STAND_IN, list(references))


def ask_endpoint(judge: Judge, looked: Sequence[Looked]) -> list[Asked]:
    """The judge's real answers about these images. Raises InputError where the key or the endpoint may not be used."""
    return asyncio.run(_ask(judge, looked))


async def _ask(judge: Judge, looked: Sequence[Looked]) -> list[Asked]:
    endpoint = connected(judge)
    asked: list[Asked] = []
    replies: list[Reply] = []
    async with endpoint.client:
        for image in looked:
            assert isinstance(image.image, Golden)
            text = question(judge, image.row.references)
            reply = await endpoint.ask(text, image.image.image, pair=False)
            if error := explain_account(judge, reply):
                raise error
            replies.append(reply)
            asked.append(_read(judge, text, reply))
    if all(reply.failure for reply in replies):
        raise explain_outage(judge, replies, was_answered=False)
    return asked


def _read(judge: Judge, text: str, reply: Reply) -> Asked:
    if reply.failure:
        return Asked(text, None, _failure(reply))
    return read_answer(judge, text, reply.text)


def read_answer(judge: Judge, text: str, answer: str | None) -> Asked:
    """The answer with what the gate would take from it."""
    judgement = judging.read(judge, answer, None)
    values = ", ".join(f"{name} {value:g}" for name, value in judgement.values.items())
    return Asked(text, answer, values or judgement.failure or "")


def _failure(reply: Reply) -> str:
    detail = f" ({reply.detail})" if reply.detail else ""
    return f"no answer: {reply.failure}{detail}"


def judge_doubts(asked: Sequence[Asked]) -> Iterator[str]:
    """Doubts about the judge's answers."""
    failed = [one for one in asked if one.values.startswith(("judge-", "no answer"))]
    if failed:
        yield f"{len(failed)} of {len(asked)} of the judge's answers cannot be used ({failed[0].values})"
    elif len(asked) > 1 and len({one.answer for one in asked}) == 1:
        yield "the judge gives the same answer about each image looked at; does it see them?"
