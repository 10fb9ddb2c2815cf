# ruff: noqa: E501 (a case is a line of a table)
"""The cases about judges: 26 of the review. Twelve images are captioned once; each endpoint then answers about them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case_runner import GOOD, Build, Case, CaseRunner
from checkpoints import ENGINE
from judge_endpoint import Reply, answer_reply, completion, read_question, serve_endpoint
from pictures import images

Behaviour = Callable[[str, int], Reply]


def judge_with(behave: Callable[[], Behaviour], **judge: Any) -> Build:
    """Evaluate with an endpoint that behaves so; the case's line has the judge's counts or the error."""

    def build(runner: CaseRunner, folder: Path) -> str:
        root = captions_root(runner, folder.parent / "judged")
        behaviour = behave()
        with serve_endpoint(behaviour) as endpoint:
            if isinstance(behaviour, Refusing):
                behaviour.bodies = endpoint.asked
            suite = suite_of(folder.parent / "judged") | {
                "judge": {"kind": "openai", "model": "m", "base_url": endpoint.url, "prompt": "Rate: {caption}",
                          "tries": 3, "timeout_seconds": 5.0, "concurrency": 4} | judge,
            }  # fmt: skip
            spec, line = runner.plan(root.parent, GOOD, suite)
            if spec is None:
                return line
            code, line = runner.stage("evaluate", spec)
            if code:
                return line
            (totals,) = Path(spec).parent.rglob("judge.json")
            counts = json.loads(totals.read_text())
            totals_line = {name: counts[name] for name in ("questions", "answered", "failed")}
            return f"evaluate complete: {json.dumps(totals_line)}"

    return build


def suite_of(folder: Path) -> dict[str, Any]:
    return {
        "dataset": {"source": str(folder / "images")},
        "preprocess": {"max_pixels": 12544, "format": "png"},
        "caption": {"prompt": "describe the image", "max_tokens": 32},
        "engine": ENGINE,
    }


def captions_root(runner: CaseRunner, folder: Path) -> Path:
    """A root with the captions of twelve images, which the tree makes at the first call."""
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        images(folder / "images", 12)
        spec, line = runner.plan(folder, GOOD, suite_of(folder))
        assert spec, line
        for stage in ("preprocess", "caption"):
            code, line = runner.stage(stage, spec, seconds=400)
            assert code == 0, line
        (folder / "done").touch()
    return folder / "root"


GOOD_ANSWER = json.dumps({"rationale": "so", "score": 4})


def always(reply: Reply) -> Callable[[], Behaviour]:
    return lambda: lambda text, before: reply


def answers(content: Any, finish: str = "stop", **message: Any) -> Callable[[], Behaviour]:
    return always(Reply(body=completion(content, finish, **message)))


def answers_before(first: int, reply: Reply) -> Callable[[], Behaviour]:
    """`first` good answers, then always the reply."""

    def start() -> Behaviour:
        count = iter(range(10**9))
        return lambda text, before: answer_reply(score=4) if next(count) < first else reply

    return start


class Refusing:
    """Refuses `temperature` and `max_tokens`, one after the other, as OpenAI's o-series does."""

    bodies: list[dict[str, Any]]

    def __call__(self, text: str, before: int) -> Reply:
        body = next(body for body in reversed(self.bodies) if read_question(body) == text)
        for setting, message in (
            ("temperature", "temperature does not support 0"),
            ("max_tokens", "use 'max_completion_tokens' instead"),
        ):
            if setting in body:
                refusal = {"message": message, "type": "invalid_request_error", "param": setting}
                return Reply(400, {"error": refusal | {"code": "unsupported_parameter"}})
        return answer_reply(score=4)


RATE_IN_200 = Reply(200, {"error": {"message": "Rate limit exceeded", "code": 429}})
HTML = Reply(200, b"<!doctype html><html><body>Sign in</body></html>", {"Content-Type": "text/html"})
SSE = Reply(
    200, b'data: {"choices": [{"delta": {"content": "4"}}]}\n\ndata: [DONE]\n\n', {"Content-Type": "text/event-stream"}
)
ALL = r'"questions": 12, "answered": 12'
CASES = [
    Case("26a", "Aider-AI/aider#3550, BerriAI/litellm#8448", "200 with `{\"error\": {\"code\": 429}}` after 4 of 12", r"exit 1: .*(rate|429)", "8 of 12 recorded as judge-invalid-answer, PASS (silently wrong)", judge_with(answers_before(4, RATE_IN_200))),
    Case("26b1", "vllm-project/vllm#16182, inspect_ai#5467", "reasoning model: empty content, `finish_reason: length`", r"exit 2: .*cut off at max_tokens", "`invalid-answer (no text); this model does not do what the prompt asks`", judge_with(answers("", "length", reasoning_content="Let me think"))),
    Case("26b2", "the same", "`<think>…</think>` before the JSON", ALL, "`not what the schema says`", judge_with(answers(f"<think>Hm, {{\"score\": 1}}</think>\n{GOOD_ANSWER}"))),
    Case("26b3", "BuilderIO/agent-native#4861", "answer only in `reasoning_content`", r"exit 2: .*reasoning", "`no text`", judge_with(answers(None, reasoning_content=GOOD_ANSWER))),
    Case("26c", "songquanpeng/one-api#1016, open-webui#3273", "413 to every question", r"exit 2: .*413", "`trouble, worth retrying … run again when it is up`", judge_with(always(Reply(413, b"Request Entity Too Large")))),
    Case("26e1", "open-webui#3273", "HTML with 200", r"exit [12]: .*(HTML|html).*base_url|exit [12]: .*base_url.*(HTML|html)", "`this model does not do what the prompt asks`", judge_with(always(HTML))),
    Case("26e2", "geode#1612", "SSE with 200", r"exit [12]: .*(stream|SSE|event)", "the same", judge_with(always(SSE))),
    Case("26e3", "vercel/ai#13703", "fence ` ```JSON `", ALL, "`not what the schema says`", judge_with(answers(f"```JSON\n{GOOD_ANSWER}\n```"))),
    Case("26e4", "the same", "a fence on one line", ALL, "the same", judge_with(answers(f"```json {GOOD_ANSWER}```"))),
    Case("26e5", "the same", "content as a list of parts", ALL, "`no text`", judge_with(answers([{"type": "text", "text": GOOD_ANSWER}]))),
    Case("26f", "OpenAI o-series", "`temperature` and `max_tokens` refused one after the other", ALL, "12 of 12 answered", judge_with(Refusing)),
]  # fmt: skip
