"""An endpoint that is down: the job ends in one line, answers are kept, and failures of single images are no outage."""

from pathlib import Path

import pytest
from endpoint_cases import SIX, answer_badly, answer_well, read_all_bytes, read_failures
from judge_endpoint import KEY, Reply, answer_reply, completion, error_reply, find_caption, serve_endpoint
from judge_inputs import make_judge_spec, write_judge_inputs

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.judge.run import run_judge

pytestmark = pytest.mark.usefixtures("judge_key")

TWENTY = {f"image-{number:02d}": f"caption {number}" for number in range(20)}


@pytest.mark.parametrize(
    ("reply", "kind", "line"),
    [
        (
            error_reply(500),
            RetryableError,
            "3 answers in a row failed, the last: server-error .*run again when it is up",
        ),
        (error_reply(429), RetryableError, "3 answers in a row failed, the last: rate-limit"),
        (Reply(hang=2, body={}), RetryableError, "the last: timeout"),
        (answer_reply(score=99), InputError, "the last: invalid-answer .*change one of them"),
        (error_reply(400, "no images here"), InputError, "the last: request-rejected .*no images here.*takes images"),
        (error_reply(401, f"bad key {KEY}"), InputError, "401, not this key; correct ASSAY_JUDGE_KEY$"),
        (error_reply(403, f"denied to {KEY}"), InputError, r"http-403 .*denied to \*\*\*.*check base_url, model"),
        (error_reply(404, "no model m"), InputError, "http-404 .*no model m.*check base_url, model"),
    ],
)
def test_an_endpoint_that_never_answers_ends_the_job_in_one_line(
    tmp_path: Path, reply: Reply, kind: type[Exception], line: str
) -> None:
    with serve_endpoint(lambda text, before: reply) as endpoint:
        spec = write_judge_inputs(
            make_judge_spec(str(tmp_path), endpoint.url, tries=1, concurrency=1, timeout_seconds=0.4), SIX
        )
        with pytest.raises(kind, match=line) as error:
            run_judge(spec, [spec.caption_id])
        assert len(endpoint.asked) <= 6
        assert KEY not in str(error.value)
        assert "\n" not in str(error.value)
        endpoint.behave = answer_well
        assert run_judge(spec, [spec.caption_id]).answered == 6, "the outage was recorded as failures of images"
    assert KEY.encode() not in read_all_bytes(tmp_path)


def test_an_endpoint_without_a_listener(tmp_path: Path) -> None:
    spec = write_judge_inputs(make_judge_spec(str(tmp_path), "http://127.0.0.1:9/v1", tries=1, concurrency=2), SIX)
    with pytest.raises(
        RetryableError, match=r"judge m at http://127.0.0.1:9/v1: 6 answers in a row failed.*connection-error"
    ):
        run_judge(spec, [spec.caption_id])


def test_an_outage_in_the_middle_is_a_retryable_error_and_keeps_the_answers(tmp_path: Path) -> None:
    with serve_endpoint(answer_well) as endpoint:
        endpoint.behave = lambda text, before: answer_well(text, 0) if len(endpoint.asked) <= 8 else error_reply(500)
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1, concurrency=2), TWENTY)
        with pytest.raises(RetryableError, match="6 answers in a row failed"):
            run_judge(spec, [spec.caption_id])
        endpoint.behave = answer_well
        endpoint.asked.clear()
        totals = run_judge(spec, [spec.caption_id])
        assert (len(endpoint.asked), totals.answered, totals.run_usage.questions) == (12, 20, 20)


@pytest.mark.parametrize(("count", "concurrency", "dead_after"), [(100, 16, 60), (100, 8, 80), (20, 8, 19)])
@pytest.mark.slow
def test_an_outage_that_is_too_short_to_count_is_one_all_the_same(
    tmp_path: Path, count: int, concurrency: int, dead_after: int
) -> None:
    many = {f"image-{number:03d}": f"caption {number}" for number in range(count)}
    with serve_endpoint(answer_well) as endpoint:
        endpoint.behave = lambda text, before: (
            answer_well(text, 0) if len(endpoint.asked) <= dead_after else error_reply(500)
        )
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1, concurrency=concurrency), many)
        for _ in range(3):
            with pytest.raises(
                RetryableError, match=r"in a row failed, the last: server-error .*run again when it is up"
            ):
                run_judge(spec, [spec.caption_id])
            assert set(read_failures(spec).values()) == {"judge-silent"}, "an outage was recorded as failures of images"
        missing = len(read_failures(spec))
        assert missing >= count - dead_after
        endpoint.behave = answer_well
        endpoint.asked.clear()
        assert (run_judge(spec, [spec.caption_id]).answered, len(endpoint.asked)) == (count, missing)


def test_an_answer_that_was_on_its_way_does_not_turn_an_outage_into_failures(tmp_path: Path) -> None:
    """The first answer arrives after the endpoint died. It proves nothing about the time after its request."""

    def behave(text: str, before: int) -> Reply:
        if find_caption(text) == "caption 0" and not before:
            return Reply(hang=0.5, body=answer_reply(score=4).body)
        return error_reply(500)

    with serve_endpoint(behave) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1, concurrency=4), SIX)
        with pytest.raises(RetryableError, match="5 answers in a row failed"):
            run_judge(spec, [spec.caption_id])
    assert read_failures(spec) == {f"image-{number}": "judge-silent" for number in range(1, 6)}


def test_nothing_answered_and_then_the_first_after_all(tmp_path: Path) -> None:
    with serve_endpoint(lambda text, before: answer_well(text, 0) if before else error_reply(500)) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1), SIX)
        totals = run_judge(spec, [spec.caption_id])
        assert len(endpoint.asked) == 7
        assert (totals.questions, totals.answered, totals.failed) == (6, 1, {"judge-server-error": 5})
        assert len(read_failures(spec)) == 5


@pytest.mark.parametrize("status", [400, 403, 413, 500])
def test_many_images_that_always_fail_are_no_outage_for_the_next_run(tmp_path: Path, status: int) -> None:
    """The run asks only these questions, more than 3 x concurrency. A question that has a stored answer shows that
    the endpoint works."""

    def behave(text: str, before: int) -> Reply:
        return answer_well(text, 0) if int(find_caption(text).split()[1]) < 8 else error_reply(status)

    with serve_endpoint(behave) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1, concurrency=2), TWENTY)
        for force in (None, "again"):
            again = spec.model_copy(update={"force": force})
            totals = run_judge(again, [again.caption_id])
            assert (totals.answered, sum(totals.failed.values())) == (8, 12)


def test_one_image_that_always_fails_does_not_hold_the_run_up_for_ever(tmp_path: Path) -> None:
    with serve_endpoint(answer_badly(2, error_reply(500))) as endpoint:
        first = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1), SIX)
        run_judge(first, [first.caption_id])
        second = first.model_copy(update={"force": "again"})
        assert run_judge(second, [second.caption_id]).failed == {"judge-server-error": 1}


def test_one_caption_that_a_firewall_dislikes_is_one_failure(tmp_path: Path) -> None:
    with serve_endpoint(answer_badly(0, error_reply(403))) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
    assert read_failures(spec) == {"image-0": "judge-http-403"}


def test_refusals_in_a_row_are_no_outage_of_an_endpoint_that_answers(tmp_path: Path) -> None:
    def late(text: str, before: int) -> Reply:
        number = int(find_caption(text).split()[1])
        return answer_well(text, 0) if number < 4 else Reply(body=completion(None, refusal="no"))

    with serve_endpoint(late) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1, concurrency=2), TWENTY)
        assert run_judge(spec, [spec.caption_id]).failed == {"judge-refusal": 16}
