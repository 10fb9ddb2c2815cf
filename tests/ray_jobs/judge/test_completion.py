"""Answers of real endpoints: an answer without a completion is the endpoint's failure; any other is parsed or
reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from endpoint_cases import read_judgements
from judge_endpoint import (
    KEY,
    Reply,
    completion,
    error_in_success_reply,
    error_reply,
    find_caption,
    page_reply,
    serve_endpoint,
    stream_reply,
)
from judge_endpoint import message_reply as text
from judge_inputs import make_judge_spec, write_judge_inputs

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.judge.rubric import NO_ANSWER, Judgement
from ray_jobs.judge.run import run_judge

TWELVE = {f"image-{number:02d}": f"caption {number}" for number in range(12)}
GOOD = json.dumps({"rationale": "so", "score": 4})
LONG = "The picture shows a red square on white ground. " * 9

pytestmark = pytest.mark.usefixtures("judge_key")


def write_inputs(root: Path, url: str, **judge: Any) -> Spec:
    return write_judge_inputs(make_judge_spec(str(root), url, **{"tries": 1, "concurrency": 2} | judge), TWELVE)


def number_of(question: str) -> int:
    return int(find_caption(question).split()[1])


def only_from(first: int, reply: Reply) -> Callable[[str, int], Reply]:
    """The captions before this number are answered well, the others with the reply."""
    return lambda question, before: text(GOOD) if number_of(question) < first else reply


# --- completions that hold an answer ----------------------------------------------------------------------------------

READ: dict[str, Reply] = {
    "plain": text(GOOD),
    "thoughts before it": text(f"<think>It is red.\n{{}}</think>\n\n{GOOD}"),
    "no thoughts in their block": text(f"<think>\n\n</think>\n\n{GOOD}"),
    "a block that the chat template opened": text(f"It is red.\n</think>\n{GOOD}"),
    "thoughts by another name": text(f"<Thinking>red</Thinking>{GOOD}"),
    "thoughts in the marks of Kimi": text(f"◁think▷red◁/think▷{GOOD}"),
    "a fence": text(f"```json\n{GOOD}\n```"),
    "a fence in capitals": text(f"```JSON\n{GOOD}\n```"),
    "a fence on one line": text(f"```json {GOOD} ```"),
    "a fence without a space": text(f"```{GOOD}```"),
    "a fence of four": text(f"````\n{GOOD}\n````"),
    "thoughts and a fence": text(f"<think>red</think>```Json\n{GOOD}```"),
    "a byte order mark": text(f"\ufeff{GOOD}"),
    "a list of parts": text([{"type": "text", "text": GOOD[:9]}, {"type": "text", "text": GOOD[9:]}]),
    "parts of the responses API": text([{"type": "output_text", "text": GOOD}]),
    "a part of thoughts": text([{"type": "thinking", "thinking": "red"}, {"type": "text", "text": GOOD}]),
    "one part": text({"type": "text", "text": GOOD}),
    "reasoning beside it": text(GOOD, reasoning_content="It is red."),
    "an empty error beside it": Reply(body=completion(GOOD) | {"error": None}),
    "log-probabilities beside it": Reply(
        body=completion(GOOD) | {"choices": [completion(GOOD)["choices"][0] | {"logprobs": {"content": [{}] * 99}}]}
    ),
    "no usage": Reply(body={"choices": completion(GOOD)["choices"]}),
    "white space that keeps the connection up": Reply(body=b"\n \n" + json.dumps(completion(GOOD)).encode()),
    "cut off behind the answer": text(GOOD, finish="length"),
}


@pytest.mark.parametrize("content", READ.values(), ids=READ.keys())
def test_an_answer_is_read_however_it_is_wrapped(tmp_path: Path, content: Reply) -> None:
    with serve_endpoint(lambda question, before: content) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url)
        assert run_judge(spec, [spec.caption_id]).answered == 12
        assert len(endpoint.asked) == 12
    assert set(map(repr, read_judgements(spec).values())) == {repr(Judgement({"judge": 4.0}, "so"))}


def test_thoughts_are_not_kept_so_that_no_key_is_in_them(tmp_path: Path) -> None:
    with serve_endpoint(lambda question, before: text(f"<think>my key is {KEY}</think>{GOOD}")) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url)
        assert run_judge(spec, [spec.caption_id]).answered == 12
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


# --- completions that hold none: the model's failure ------------------------------------------------------------------

CUT = r"cut off at max_tokens \(256\)"
MORE = "; raise judge.max_tokens, or turn the model's reasoning off$"
PARSER = "; turn the model's reasoning off, or start the endpoint with the reasoning parser of this model$"
CHANGE = "; this model does not do what the prompt asks, change one of them$"
USELESS: dict[str, tuple[Reply, str]] = {
    "nothing": (text(""), rf"invalid-answer \(no text\){CHANGE}"),
    "null": (text(None), rf"\(no text\){CHANGE}"),
    "reasoning only": (text(None, reasoning_content=LONG), rf"no text, only reasoning: '{LONG[:97]}\.\.\.'\){PARSER}"),
    "reasoning by its other name": (text("", reasoning="red"), rf"\(no text, only reasoning: 'red'\){PARSER}"),
    "all tokens went into reasoning": (
        text(None, "length", reasoning="red"), rf"\(no text, {CUT}, only reasoning: 'red'\){MORE}"),
    "empty and cut": (text("", "length"), rf"\(no text, {CUT}\){MORE}"),
    "thoughts that do not end": (text(f"<think>{LONG}", "length"), rf"schema says, {CUT}: .*'<think>The pict.*{MORE}"),
    "an answer that does not end": (text('{"rationale": "The', "length"), rf"{CUT}: no JSON object alone.*{MORE}"),
    "a call of a tool": (
        text(None, "tool_calls", tool_calls=[{"id": "1"}]), rf"\(no text, only a call of a tool\){CHANGE}"),
    "prose": (text(LONG), rf"not what the schema says: no JSON object alone \(.*\): '{LONG[:97]}\.\.\.'\){CHANGE}"),
    "two blocks of thoughts": (text(f"<think>a</think><think>b</think>{GOOD}"), f"'<think>a</think><think>b.*{CHANGE}"),
    "two objects": (text(f"{GOOD} {GOOD}"), r"no JSON object alone \(Extra data, character 33\)"),
    "a comma too many": (text('{"rationale": "so", "score": 4,}'), "no JSON object alone"),
    "single quotes": (text("{'rationale': 'so', 'score': 4}"), "no JSON object alone.*: \"?'{'rationale'"),
    "a score as text": (text('{"rationale": "so", "score": "7/10"}'), "the score '7/10' is not a whole number from 1"),
    "a score of another scale": (text('{"rationale": "so", "score": 87}'), "the score 87 is not a whole number from 1"),
    "a share for a score": (text('{"rationale": "so", "score": 0.8}'), "the score 0.8 is not a whole number from 1 to"),
    "keys of another language": (text('{"Begründung": "so", "Note": 4}'), "the key 'rationale' is missing: '{\"Begr"),
    "a key too many": (text('{"rationale": "so", "score": 4, "sure": 1}'), "a key 'sure' that nobody asked for"),
    "content that is a number": (text(4), r"\(no text but '4'\)"),
    "a refusal": (text(None, refusal="I will not."), rf"refusal \(I will not\.\){CHANGE}"),
    "a refusal among parts": (text([{"type": "refusal", "refusal": "No."}]), r"refusal \(No\.\)"),
    "a filter": (text("", "content_filter"), r"refusal \(content_filter\)"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "line"), USELESS.values(), ids=USELESS.keys())
def test_an_invalid_answer_is_shown_with_its_remedy(tmp_path: Path, reply: Reply, line: str) -> None:
    with serve_endpoint(lambda question, before: reply) as endpoint:
        spec = write_inputs(tmp_path / "all", endpoint.url)
        with pytest.raises(InputError, match=rf"answers in a row failed, the last: .*{line}") as error:
            run_judge(spec, [spec.caption_id])
        assert str(error.value).isprintable()
        assert set(map(repr, read_judgements(spec).values())) == {repr(NO_ANSWER)}, (
            "recorded although nothing was ever answered"
        )

        endpoint.behave = only_from(4, reply)
        spec = write_inputs(tmp_path / "some", endpoint.url)
        assert sum(run_judge(spec, [spec.caption_id]).failed.values()) == 8


def test_a_criterion_that_is_missing_is_named(tmp_path: Path) -> None:
    with serve_endpoint(lambda question, before: text('{"rationale": "so", "colour": true}')) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url, criteria=["colour", "shape"])
        with pytest.raises(InputError, match="the key 'shape' is missing"):
            run_judge(spec, [spec.caption_id])


def test_a_judge_with_equal_answers_for_all_images_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def alike(question: str, before: int) -> Reply:
        return text(GOOD)

    def answer_differently(question: str, before: int) -> Reply:
        return text(GOOD.replace("so", f"so {number_of(question)}"))

    for behave, is_doubted in ((answer_differently, False), (alike, True)):
        with serve_endpoint(behave) as endpoint, caplog.at_level("WARNING"):
            spec = write_inputs(tmp_path / behave.__name__, endpoint.url)
            run_judge(spec, [spec.caption_id])
        assert ("all 12 answers are the same word for word" in caplog.text) == is_doubted


def test_a_recorded_failure_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serve_endpoint(only_from(11, text("four", "length"))) as endpoint, caplog.at_level("WARNING"):
        spec = write_inputs(tmp_path, endpoint.url)
        run_judge(spec, [spec.caption_id])
    assert (
        "1 questions have no answer, one because of: invalid-answer (not what the schema says, cut off" in caplog.text
    )


# --- no completion: the endpoint's failure ----------------------------------------------------------------------------

BASE = "; no chat completions come from there, check base_url$"
AGAIN = "run again when it is up$"
ACCOUNT = r"the account of the key in ASSAY_JUDGE_KEY has no credit or quota left \(.*\); top it up"
QUOTA = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": None}}
DOWN: dict[str, tuple[Reply, type[Exception], str]] = {
    "429 in a 200": (error_in_success_reply(429, "slow down"), RetryableError, f"rate-limit .*slow down.*{AGAIN}"),
    "429 as text": (error_in_success_reply("429"), RetryableError, f"rate-limit .*{AGAIN}"),
    "429 in a word": (error_in_success_reply("rate_limit_exceeded"), RetryableError, f"rate-limit .*{AGAIN}"),
    "an error without a code": (
        error_in_success_reply(None, "upstream"), RetryableError, f"server-error .*'upstream'.*{AGAIN}"),
    "an error as text": (
        Reply(body={"error": "model is loading"}), RetryableError, f"server-error .*is loading'.*{AGAIN}"),
    "an error in a list": (
        Reply(body=[{"error": {"code": 503, "message": "busy"}}]), RetryableError, "server-error .*'busy'"),
    "an error in the choice": (
        Reply(body={"choices": [{"error": {"code": 502, "message": "gone"}, "message": {"content": ""}}]}),
        RetryableError,
        "server-error .*'gone'"),
    "an answer that an error ended": (text('{"rationale": "th', "error"), RetryableError, "server-error"),
    "an error in a stream": (
        stream_reply({"error": {"code": 429, "message": "slow"}}), RetryableError, "rate-limit .*'slow'"),
    "an error object of an engine": (
        Reply(body={"object": "error", "message": "too long", "code": 400}), InputError, "request-rejected .*too long"),
    "a code without a word": (Reply(body={"code": 429, "msg": "busy"}), RetryableError, "rate-limit"),
    "401 in a 200": (error_in_success_reply(401, "who?"), InputError, "401, not this key; correct ASSAY_JUDGE_KEY"),
    "404 in a 200": (
        error_in_success_reply("model_not_found", "no m"), InputError, "http-404 .*'no m'.*check base_url, model"),
    "a page": (page_reply(), InputError, f"no-completion \\(a page: '<!doctype html><html><title>Sign in.*{BASE}"),
    "a stream": (
        stream_reply({"choices": [{"delta": {"content": "4"}}]}), InputError, f"event stream, though none.*{BASE}"
    ),
    "a comment of a stream": (Reply(body=b": PROCESSING\n\n"), InputError, f"an event stream.*{BASE}"),
    "nothing": (Reply(body=b""), InputError, f"an empty body.*{BASE}"),
    "white space": (Reply(body=b"  \n"), InputError, f"an empty body.*{BASE}"),
    "no choices": (Reply(body={"choices": []}), InputError, f"JSON that is no completion: .*choices.*{BASE}"),
    "a message that is null": (Reply(body={"choices": [{"message": None}]}), InputError, f"no completion.*{BASE}"),
    "an answer of the old API": (Reply(body={"choices": [{"text": GOOD}]}), InputError, f"no completion.*text.*{BASE}"),
    "a list of models": (Reply(body={"object": "list", "data": []}), InputError, f"no completion.*{BASE}"),
    "half of a JSON text": (Reply(body=b'{"choices": [{"mess'), InputError, f"no JSON: .*{BASE}"),
    "text": (Reply(body=b"OK"), InputError, f"no JSON: 'OK'.*{BASE}"),
    "201": (Reply(201, {"id": 1}), InputError, f"no completion.*{BASE}"),
    "402": (error_reply(402, "no credit"), InputError, ACCOUNT),
    "no quota": (Reply(429, QUOTA), InputError, ACCOUNT),
    "no quota in a 200": (Reply(200, QUOTA), InputError, ACCOUNT),
    "405": (error_reply(405, "not here"), InputError, "http-405 .*not here.*check base_url, model"),
    "404 of a gateway": (Reply(404, b"404 page not found"), InputError, "http-404 .*page not found.*check base_url"),
    "404 of a deployment": (
        Reply(404, {"error": {"code": "DeploymentNotFound", "message": "no such deployment"}}), InputError,
        "http-404 .*no such deployment.*check base_url, model"),
    "404 of Ollama": (Reply(404, {"error": "model 'm' not found"}), InputError, "http-404 .*model 'm' not found"),
    "410": (error_reply(410), InputError, "http-410"),
    "415": (error_reply(415), InputError, "http-415"),
    "421": (error_reply(421), InputError, "http-421"),
    "a redirect": (
        Reply(307, b"", {"Location": "https://login.example.com/v1?next=secret"}), InputError,
        r"http-307 \(status 307, a redirect to https://login.example.com/v1\); redirects are not followed, set"),
    "304": (Reply(304, b""), InputError, "http-304"),
    "413": (Reply(413, b"<html>413 Request Entity Too Large</html>"), InputError,
            "http-413 .*Too Large.*; lower preprocess.max_pixels, or raise the endpoint's limit on the size of"),
    "400 of a context": (
        error_reply(
            400, "maximum context length is 128 tokens"), InputError, "rejected .*maximum context length.*images"
        ),
    "422 of FastAPI": (Reply(422, {"detail": [{"msg": "field required"}]}), InputError, "rejected .*field required"),
    "500 that wraps a 429": (
        error_reply(500, "litellm.RateLimitError: Error code: 429"), RetryableError, f"server-error .*429.*{AGAIN}"),
    "408": (error_reply(408), RetryableError, AGAIN),
    "529": (error_reply(529, "overloaded"), RetryableError, f"server-error .*overloaded.*{AGAIN}"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "kind", "line"), DOWN.values(), ids=DOWN.keys())
def test_an_endpoint_that_never_answers_says_what_it_sends(
    tmp_path: Path, reply: Reply, kind: type[Exception], line: str
) -> None:
    with serve_endpoint(lambda question, before: reply) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url)
        with pytest.raises(kind, match=line) as error:
            run_judge(spec, [spec.caption_id])
        assert str(error.value).isprintable()
        assert set(map(repr, read_judgements(spec).values())) == {repr(NO_ANSWER)}
        endpoint.behave = only_from(12, reply)
        assert run_judge(spec, [spec.caption_id]).answered == 12, "an outage was recorded"


@pytest.mark.parametrize(("reply", "kind", "line"), DOWN.values(), ids=DOWN.keys())
def test_an_outage_after_the_first_answers_is_recorded_for_no_image(
    tmp_path: Path, reply: Reply, kind: type[Exception], line: str
) -> None:
    with serve_endpoint(only_from(12, reply)) as endpoint:
        endpoint.behave = lambda question, before: text(GOOD) if len(endpoint.asked) <= 4 else reply
        spec = write_inputs(tmp_path, endpoint.url)
        with pytest.raises((InputError, RetryableError), match="judge m at "):
            run_judge(spec, [spec.caption_id])
        assert [judgement.failure for judgement in read_judgements(spec).values()].count("judge-silent") >= 7
        assert {judgement.failure for judgement in read_judgements(spec).values()} == {None, "judge-silent"}
        endpoint.behave = only_from(12, reply)
        assert run_judge(spec, [spec.caption_id]).answered == 12


OWN = ["429 in a 200", "a page", "a stream", "nothing", "413", "400 of a context", "405", "a redirect", "529"]


@pytest.mark.parametrize("name", OWN)
def test_one_image_that_it_happens_to_is_one_failure(tmp_path: Path, name: str) -> None:
    reply = DOWN[name][0]
    with serve_endpoint(lambda question, before: reply if number_of(question) == 5 else text(GOOD)) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url)
        assert run_judge(spec, [spec.caption_id]).answered == 11
    assert [image for image, judgement in read_judgements(spec).items() if judgement.failure] == ["image-05"]


def test_an_image_too_large_among_the_first_ones_ends_nothing(tmp_path: Path) -> None:
    """Only large images exceed a limit on the size of a request; the other images are answered."""
    with serve_endpoint(
        lambda question, before: error_reply(413) if number_of(question) < 5 else text(GOOD)
    ) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url)
        assert run_judge(spec, [spec.caption_id]).failed == {"judge-http-413": 5}


def test_an_error_with_a_status_of_success_is_waited_for_as_it_says(tmp_path: Path) -> None:
    """The question is retried after `Retry-After` until it is answered."""
    wait = {"retry-after-ms": "150"}

    def behave(question: str, before: int) -> Reply:
        return text(GOOD) if before else error_in_success_reply(429, **wait)

    with serve_endpoint(behave) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url, tries=3, concurrency=12)
        assert run_judge(spec, [spec.caption_id]).answered == 12
        assert len(endpoint.asked) == 24
        assert endpoint.headers[-1]["x-stainless-retry-count"] == "1"


def test_a_quota_that_is_used_up_is_not_asked_for_again(tmp_path: Path) -> None:
    with serve_endpoint(lambda question, before: Reply(429, QUOTA)) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url, tries=6, concurrency=1)
        with pytest.raises(InputError, match=ACCOUNT):
            run_judge(spec, [spec.caption_id])
        assert len(endpoint.asked) == 1


def test_a_caption_that_an_error_repeats_is_no_word_of_the_account(tmp_path: Path) -> None:
    """An author of captions must not be able to end a job."""
    with serve_endpoint(lambda question, before: error_reply(429, "bad: insufficient_quota")) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url)
        with pytest.raises(RetryableError, match="rate-limit"):
            run_judge(spec, [spec.caption_id])


@pytest.mark.parametrize("reply", ["x" * 80 + KEY, '{"choices": "' + "x" * 80 + KEY + '"}', "<html>" + "x" * 85 + KEY])
def test_no_half_of_a_key_is_shown_where_an_answer_is_cut(tmp_path: Path, reply: str) -> None:
    with serve_endpoint(lambda question, before: Reply(200, reply.encode())) as endpoint:
        spec = write_inputs(tmp_path, endpoint.url)
        with pytest.raises(InputError, match="no-completion") as error:
            run_judge(spec, [spec.caption_id])
    assert KEY[:6] not in str(error.value)
