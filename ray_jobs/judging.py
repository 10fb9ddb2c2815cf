"""The judge's answers about captions, asked for once and kept as parts, the useless ones too."""

from collections.abc import Callable, Iterator
from typing import Any

from ray_jobs import parts
from ray_jobs.asking import Times, ask_parts, request
from ray_jobs.contract import Spec
from ray_jobs.engine.prompt import PromptMaker
from ray_jobs.metrics import judge as judging
from ray_jobs.metrics.judge import Judgement
from ray_jobs.progress import Progress


def judge_captions(spec: Spec, caption_id: str, times: Times) -> None:
    """Have the judge answer about every caption that it has not answered about."""
    assert spec.judge
    captions = parts.require(spec.captions_uri_of(caption_id), "caption")
    uri = f"{spec.judge_uri}/{caption_id}"
    done = parts.done(uri)
    sizes = {part.name: part.rows - sum(part.lost.values()) for part in captions.parts}
    progress = Progress("judge", captions.rows_out, sum(rows for name, rows in sizes.items() if name in done))
    pending = {name: rows for name, rows in sizes.items() if rows and name not in done}
    if not pending:
        return
    for name, answers in ask_parts(spec.judge, spec.suite.judge.engine, pending, _questions(spec, caption_id), times):
        asked = [row["image_id"] for row in captioned(spec, caption_id, name)]
        answers = answers.select(["text", "failure", "detail", "tokens"]).append_column("image_id", [asked])
        progress.add(parts.write(uri, name, answers, {}).rows)


def judgements(spec: Spec, caption_id: str, part: str) -> dict[str, Judgement]:
    """What the judge said of the captions of a part, by image id."""
    uri = f"{spec.judge_uri}/{caption_id}"
    if spec.suite.judge.kind == "none" or part not in parts.done(uri):
        return {}
    return {
        row["image_id"]: judging.read(spec.suite.judge, row["text"], row["failure"])
        for row in parts.read(uri, part).to_pylist()
    }


def captioned(spec: Spec, caption_id: str, part: str) -> list[dict[str, Any]]:
    """The rows of a part that have a caption, in order."""
    rows = parts.read(spec.captions_uri_of(caption_id), part, ["image_id", "caption", "failure"]).to_pylist()
    return [row for row in rows if row["failure"] is None]


def _questions(spec: Spec, caption_id: str) -> Callable[[str, PromptMaker], Iterator[dict[str, Any]]]:
    """What to ask the judge about a part, as a function that Ray can send."""
    judge = spec.suite.judge
    sampling = {
        "max_tokens": judge.max_tokens,
        "temperature": 0.0,
        "structured_outputs": {"json": judging.schema(judge)},
    }

    def requests(part: str, maker: PromptMaker) -> Iterator[dict[str, Any]]:
        golden = parts.read(spec.golden_uri, part, ["image_id", "image", "references"]).to_pylist()
        by_id = {row["image_id"]: row for row in golden}
        for number, caption in enumerate(captioned(spec, caption_id, part)):
            image = by_id[caption["image_id"]]
            text = judging.question(judge, caption["caption"], image["references"])
            yield request(part, number, image["image"], text, maker, sampling)

    return requests
