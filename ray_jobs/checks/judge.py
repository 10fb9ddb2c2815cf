"""Build the judge's questions about a few images. With `--judge`, ask them at the judge's endpoint.

`checks.run` calls this. `judge_engine` asks a judge that runs on vLLM.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ray_jobs.checks.images import SampleImage
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.images.prepare import GoldenImage
from ray_jobs.judge import rubric
from ray_jobs.judge.endpoint import Reply, connect
from ray_jobs.judge.outage import explain_account, explain_outage

STAND_IN = "A photo."  # the caption of an image without references


@dataclass(frozen=True)
class JudgeExample:
    """A question about one image, whose caption is its first reference.

    `values` has the scores of the answer, or the reason why there is none.
    """

    question: str
    answer: str | None = None
    values: str = ""


def build_question(judge: Judge, references: Sequence[str]) -> str:
    """Returns the question to the judge about an image, with the first reference as its caption."""
    return rubric.build_question(judge, references[0] if references else STAND_IN, list(references))


def ask_endpoint(judge: Judge, images: Sequence[SampleImage]) -> list[JudgeExample]:
    """Returns the endpoint's real answers about these images.

    Raises InputError or RetryableError if the endpoint refuses the account or answers no question. Raises InputError if
    the suite may not use the key or the endpoint.
    """
    return asyncio.run(_ask_all(judge, images))


async def _ask_all(judge: Judge, images: Sequence[SampleImage]) -> list[JudgeExample]:
    endpoint = connect(judge)
    examples: list[JudgeExample] = []
    replies: list[Reply] = []
    async with endpoint.client:
        for image in images:
            assert isinstance(image.image, GoldenImage)
            text = build_question(judge, image.row.references)
            reply = await endpoint.ask(text, image.image.image, is_pair=False)
            if error := explain_account(judge, reply):
                raise error
            replies.append(reply)
            examples.append(_read_reply(judge, text, reply))
    if all(reply.failure for reply in replies):
        raise explain_outage(judge, replies, was_answered=False)
    return examples


def _read_reply(judge: Judge, text: str, reply: Reply) -> JudgeExample:
    if reply.failure:
        return JudgeExample(text, None, _describe_failure(reply))
    return read_answer(judge, text, reply.text)


def read_answer(judge: Judge, text: str, answer: str | None) -> JudgeExample:
    """Returns the question, the answer, and the scores that `evaluate` would read from the answer."""
    judgement = rubric.parse_answer(judge, answer, None)
    values = ", ".join(f"{name} {value:g}" for name, value in judgement.values.items())
    return JudgeExample(text, answer, values or judgement.failure or "")


def _describe_failure(reply: Reply) -> str:
    detail = f" ({reply.detail})" if reply.detail else ""
    return f"no answer: {reply.failure}{detail}"


def find_judge_doubts(examples: Sequence[JudgeExample]) -> Iterator[str]:
    """Yields doubts about the judge's answers."""
    failed = [example for example in examples if example.values.startswith(("judge-", "no answer"))]
    if failed:
        yield f"{len(failed)} of {len(examples)} of the judge's answers cannot be used ({failed[0].values})"
    elif len(examples) > 1 and len({example.answer for example in examples}) == 1:
        yield "the judge gives the same answer about each image looked at; does it see them?"
