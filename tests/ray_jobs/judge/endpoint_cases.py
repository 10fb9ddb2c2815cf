"""Shared by the tests of a judge's endpoint: six captions, replies, and the stored answers."""

from collections.abc import Callable
from pathlib import Path

from judge_endpoint import Reply, answer_reply, find_caption

from ray_jobs.contract.spec import Spec
from ray_jobs.judge.judgements import load_judgements
from ray_jobs.judge.rubric import Judgement
from ray_jobs.storage import manifests

SIX = {f"image-{number}": f"caption {number}" for number in range(6)}


def answer_well(text: str, before: int) -> Reply:
    return answer_reply(score=4)


def read_judgements(spec: Spec, caption_id: str | None = None) -> dict[str, Judgement]:
    names = [part.name for part in manifests.require_manifest(spec.captions_uri, "caption").parts]
    judgements: dict[str, Judgement] = {}
    for name in names:
        judgements |= load_judgements(spec, caption_id or spec.caption_id, name)
    return judgements


def answer_badly(number: int, reply: Reply, times: int = 99) -> Callable[[str, int], Reply]:
    """The caption with this number gets the reply so many times; all other questions are answered well."""
    return lambda text, before: (
        reply if find_caption(text) == f"caption {number}" and before < times else answer_well(text, 0)
    )


def read_failures(spec: Spec) -> dict[str, str]:
    return {name: str(judgement.failure) for name, judgement in read_judgements(spec).items() if judgement.failure}


def read_all_bytes(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
