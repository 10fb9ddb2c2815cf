"""A judge behind an endpoint: each question is asked once, and a failure has its reason and is asked again by a new
attempt.
"""

import json
import logging
import time
from pathlib import Path

import pytest
from endpoint_cases import SIX, answer_badly, answer_well, read_all_bytes, read_failures, read_judgements
from judge_endpoint import KEY, Reply, answer_reply, completion, error_reply, find_caption, serve_endpoint
from judge_inputs import make_judge_spec, with_baseline, write_judge_inputs

from ray_jobs.judge.run import run_judge
from ray_jobs.storage import object_listing, objects

pytestmark = pytest.mark.usefixtures("judge_key")


def test_every_caption_is_asked_once_with_its_image_and_nothing_a_second_time(tmp_path: Path) -> None:
    with serve_endpoint(answer_well) as endpoint:
        spec = write_judge_inputs(
            make_judge_spec(str(tmp_path), endpoint.url, price={"input": 2.0, "output": 10.0}), SIX
        )
        totals = run_judge(spec, [spec.caption_id])
        assert sorted(map(find_caption, endpoint.texts())) == sorted(SIX.values())
        assert {name: judgement.values for name, judgement in read_judgements(spec).items()} == {
            name: {"judge": 4.0} for name in SIX
        }
        assert (totals.questions, totals.answered, totals.cached, totals.failed) == (6, 6, 0, {})
        assert (totals.total_usage.prompt_tokens, totals.total_usage.completion_tokens) == (600, 60)
        assert totals.total_usage.cost == pytest.approx(600 * 2e-6 + 60 * 10e-6)
        assert totals.run_usage == totals.total_usage
        assert totals.seconds > 0
        body = endpoint.asked[0]
        image = body["messages"][1]["content"][0]["image_url"]["url"]
        assert image.startswith("data:image/png;base64,iVBOR")
        assert body["response_format"]["json_schema"]["strict"] is True
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 256)
        assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"
        assert json.loads(objects.read(f"{spec.run_uri}/judge.json"))["spent"]["questions"] == 6

        again = run_judge(spec, [spec.caption_id])
        assert len(endpoint.asked) == 6
        assert again == totals
    for part in ("part-00000", "part-00001"):
        assert len(list(object_listing.iterate_entries(f"{spec.judge_uri}/{part}"))) == 1  # compacted
    assert KEY.encode() not in read_all_bytes(tmp_path)


def test_the_same_caption_by_another_checkpoint_is_not_asked_again(tmp_path: Path) -> None:
    with serve_endpoint(answer_well) as endpoint:
        first = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(first, [first.caption_id])
        second = write_judge_inputs(
            make_judge_spec(str(tmp_path), endpoint.url, "step-2"), SIX | {"image-3": "something else"}
        )
        totals = run_judge(second, [second.caption_id, first.caption_id])
        assert [find_caption(text) for text in endpoint.texts()[6:]] == ["something else"]
        assert (totals.questions, totals.cached, totals.run_usage.questions) == (7, 6, 1)
        assert set(read_judgements(second)) == set(read_judgements(second, first.caption_id)) == set(SIX)


def test_a_model_that_changes_behind_its_name_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def behave(text: str, before: int) -> Reply:
        servers = {"caption 0": {"model": f"m-{KEY}"}, "caption 1": {"model": ["m"], "system_fingerprint": None}}
        return Reply(body=answer_reply(score=4).body | servers.get(find_caption(text), {"model": "m-0805"}))

    with serve_endpoint(behave) as endpoint, caplog.at_level(logging.WARNING):
        first = write_judge_inputs(
            make_judge_spec(str(tmp_path), endpoint.url), {name: SIX[name] for name in ("image-2", "image-3")}
        )
        assert run_judge(first, [first.caption_id]).served_by == ("m-0805",)
        assert "models" not in caplog.text
    with serve_endpoint(behave) as endpoint, caplog.at_level(logging.WARNING):
        endpoint.behave = lambda text, before: Reply(body=answer_reply(score=4).body | {"system_fingerprint": "fp\n1"})
        second = write_judge_inputs(make_judge_spec(str(tmp_path / "other"), endpoint.url), SIX)
        assert run_judge(second, [second.caption_id]).served_by == ("m fp 1",)
        endpoint.behave = behave
        theirs = {name: text if number > 3 else f"caption {number}!" for number, (name, text) in enumerate(SIX.items())}
        third = write_judge_inputs(make_judge_spec(str(tmp_path / "other"), endpoint.url, "step-2"), theirs)
        totals = run_judge(third, [third.caption_id])
        assert totals.served_by == ("m fp 1", "m-0805")
        assert "answers are of 2 models" in caplog.text
        assert json.loads(objects.read(f"{third.run_uri}/judge.json"))["served_by"] == ["m fp 1", "m-0805"]
        odd = write_judge_inputs(make_judge_spec(str(tmp_path / "odd"), endpoint.url), SIX)
        assert run_judge(odd, [odd.caption_id]).served_by == ("m-***", "m-0805")
    assert KEY not in caplog.text
    assert KEY.encode() not in read_all_bytes(tmp_path)


def test_a_caption_that_failed_is_not_asked_about(tmp_path: Path) -> None:
    with serve_endpoint(answer_well) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX | {"image-1": None, "image-2": ""})
        run_judge(spec, [spec.caption_id])
        assert len(endpoint.asked) == 5
        assert "image-1" not in read_judgements(spec)
        assert read_judgements(spec)["image-2"].values == {"judge": 4.0}  # an empty caption is one to judge


@pytest.mark.parametrize(
    ("reply", "reason", "tries"),
    [
        (error_reply(429), "judge-rate-limit", 2),
        (error_reply(500), "judge-server-error", 2),
        (error_reply(413), "judge-http-413", 1),
        (error_reply(400), "judge-request-rejected", 1),
        (Reply(hang=3.0, body={}), "judge-timeout", 2),
        (Reply(body=completion("x" * 99), drip=True), "judge-timeout", 2),
        (Reply(body=completion("x" * 99), cut=True), "judge-connection-error", 2),
        (Reply(body=b'{"choices": [{"mess'), "judge-no-completion", 2),
        (Reply(body=b"<html>gateway</html>", headers={"Content-Type": "text/html"}), "judge-no-completion", 2),
        (Reply(body=[]), "judge-no-completion", 2),
        (Reply(body={"choices": [{"message": None}]}), "judge-no-completion", 2),
        (Reply(body=completion(None)), "judge-invalid-answer", 2),
        (Reply(body=completion([{"text": "4"}])), "judge-invalid-answer", 2),
        (Reply(body=completion('{"rationale": "cut', finish="length")), "judge-invalid-answer", 2),
        (answer_reply(score=7), "judge-invalid-answer", 2),
        (Reply(body=completion('{"rationale": "r", "score": 1, "score": 5}')), "judge-invalid-answer", 2),
        (Reply(body=completion("[" * 100_000)), "judge-invalid-answer", 2),
        (Reply(body=completion(None, refusal=f"I will not. {KEY}")), "judge-refusal", 2),
        (Reply(body=completion("", finish="content_filter")), "judge-refusal", 2),
    ],
)  # fmt: skip
def test_what_stays_wrong_is_missing_with_its_reason_and_never_zero(
    tmp_path: Path, reply: Reply, reason: str, tries: int
) -> None:
    with serve_endpoint(answer_badly(2, reply)) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, timeout_seconds=0.5, concurrency=1), SIX)
        totals = run_judge(spec, [spec.caption_id])
        assert read_failures(spec) == {"image-2": reason}
        assert read_judgements(spec)["image-2"].values == {}
        assert totals.failed == {reason: 1}
        assert totals.answered == 5
        assert endpoint.counted[next(text for text in endpoint.texts() if "caption 2" in text)] == tries
        count = len(endpoint.asked)
        run_judge(spec, [spec.caption_id])
        assert len(endpoint.asked) == count, "a failure stands for the run that met it"
    assert KEY.encode() not in read_all_bytes(tmp_path)


@pytest.mark.parametrize(
    "replies",
    [error_reply(429), error_reply(500), Reply(body=b"{", cut=True), answer_reply(score=9), Reply(body=b"{")],
)
def test_what_goes_away_is_tried_again(tmp_path: Path, replies: Reply) -> None:
    with serve_endpoint(answer_badly(2, replies, times=1)) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        totals = run_judge(spec, [spec.caption_id])
        assert read_failures(spec) == {}
        assert (totals.answered, len(endpoint.asked)) == (6, 7)


def test_the_endpoint_says_how_long_to_wait(tmp_path: Path) -> None:
    """A `Retry-After` above two minutes is not waited for: the answer is missing, and the job continues."""
    with serve_endpoint(answer_badly(2, Reply(429, {}, {"Retry-After": "300"}))) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
        assert read_failures(spec) == {"image-2": "judge-rate-limit"}
        bodies = [json.dumps(body) for body in endpoint.asked]
        assert sum("caption 2" in body for body in bodies) == 1
        assert len(bodies) in (
            6,
            7,
        )  # when it comes last, an answered question is repeated to probe the endpoint

    times: list[float] = []

    def behave(text: str, before: int) -> Reply:
        times.append(time.monotonic())
        return Reply(429, {}, {"Retry-After": "1"}) if before == 0 else answer_well(text, 0)

    with serve_endpoint(behave) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path / "other"), endpoint.url), {"image-0": "caption 0"})
        assert run_judge(spec, [spec.caption_id]).answered == 1
    assert times[1] - times[0] >= 1


def test_the_concurrency_bounds_the_whole_job(tmp_path: Path) -> None:
    many = {f"image-{number:02d}": f"caption {number}" for number in range(24)}
    with serve_endpoint(lambda text, before: Reply(hang=0.03, body=answer_reply(score=5).body)) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, concurrency=3), many)
        run_judge(spec, [spec.caption_id])
    assert endpoint.most_at_once == 3
    assert len(endpoint.asked) == 24


# --- an endpoint that knows less, or other words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("complaint", "unknown"),
    [
        ("unknown field response_format", ["response_format"]),
        ("Bad Request", ["response_format"]),
        ("use 'max_completion_tokens' instead", ["max_tokens"]),
        ("temperature does not support 0", ["temperature"]),
    ],
)
def test_a_parameter_that_the_endpoint_does_not_know_is_left_out_and_that_is_remembered(
    tmp_path: Path, complaint: str, unknown: list[str]
) -> None:
    with serve_endpoint(answer_well) as endpoint:

        def behave(text: str, before: int) -> Reply:
            return (
                error_reply(400, complaint)
                if any(name in endpoint.asked[-1] for name in unknown)
                else answer_well(text, 0)
            )

        endpoint.behave = behave
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, concurrency=1), SIX)
        totals = run_judge(spec, [spec.caption_id])
        assert totals.answered == 6
        assert len(endpoint.asked) == 7  # the first question twice, the others once
        assert not any(name in body for body in endpoint.asked[1:] for name in unknown)


def test_plain_text_in_a_fence_is_read(tmp_path: Path) -> None:
    fenced = '```json\n{"rationale": "r", "score": 2}\n```'
    with serve_endpoint(lambda text, before: Reply(body=completion(fenced))) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
    assert {judgement.values["judge"] for judgement in read_judgements(spec).values()} == {2.0}


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_the_baseline_is_asked_about_in_the_same_go(tmp_path: Path) -> None:
    with serve_endpoint(
        lambda text, before: answer_reply(better="tie") if "Which" in text else answer_well(text, 0)
    ) as endpoint:
        baseline = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, pairwise=True), SIX)
        theirs = {name: text if name == "image-0" else f"{text}, better" for name, text in SIX.items()}
        spec = with_baseline(
            write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, "step-2", pairwise=True), theirs), baseline
        )
        totals = run_judge(spec, [spec.caption_id, baseline.caption_id])
        assert totals.questions == 6 + 5 + 2 * 5
        assert len(endpoint.asked) == totals.questions
        assert endpoint.again() == {}
        run_judge(spec, [spec.caption_id, baseline.caption_id])
        assert len(endpoint.asked) == totals.questions
