"""The endpoint's address and key: faults are one line, and no log or stored answer has the key."""

import logging
from pathlib import Path

import pytest
from endpoint_cases import SIX, answer_badly, answer_well, read_all_bytes, read_judgements
from judge_endpoint import KEY, Reply, answer_reply, completion, error_reply, serve_endpoint
from judge_inputs import make_judge_spec, write_judge_inputs

from ray_jobs.inputs.errors import InputError
from ray_jobs.judge.rubric import Judgement
from ray_jobs.judge.run import run_judge

pytestmark = pytest.mark.usefixtures("judge_key")


@pytest.mark.parametrize("value", [None, "", " \n", "sk-\nnew", "sk-é"])
def test_a_key_that_is_missing_or_cannot_be_sent(
    tmp_path: Path, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASSAY_JUDGE_KEY")
    if value is not None:
        monkeypatch.setenv("ASSAY_JUDGE_OTHER_KEY", value)
    with serve_endpoint(answer_well) as endpoint:
        spec = write_judge_inputs(
            make_judge_spec(str(tmp_path), endpoint.url, key_variable="ASSAY_JUDGE_OTHER_KEY"), SIX
        )
        with pytest.raises(InputError, match=r"judge m at .*: ASSAY_JUDGE_OTHER_KEY (is not set|holds what)"):
            run_judge(spec, [spec.caption_id])
    assert endpoint.asked == []


@pytest.mark.parametrize("url", ["models.example.com/v1", "ftp://h/v1", "http://", "file:///v1"])
def test_an_endpoint_is_a_web_address(tmp_path: Path, url: str) -> None:
    spec = write_judge_inputs(make_judge_spec(str(tmp_path), url), SIX)
    with pytest.raises(InputError, match="judge m: base_url must be http:// or https:// and a host"):
        run_judge(spec, [spec.caption_id])


def test_a_secrets_file_ends_with_a_line_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_JUDGE_KEY", f"{KEY}\n")
    with serve_endpoint(answer_well) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"


def test_no_log_names_the_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        serve_endpoint(answer_badly(2, error_reply(400, f"your key {KEY} is odd"))) as endpoint,
        caplog.at_level(logging.DEBUG),
    ):
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
    assert "judge: 6/6 questions (100%)" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("key", ["1", "so", "score", '"', "rationale", "judgement"])
def test_a_key_that_is_part_of_every_answer_spoils_none(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_JUDGE_KEY", key)
    with serve_endpoint(lambda text, before: answer_reply(score=1)) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        assert run_judge(spec, [spec.caption_id]).answered == 6
    assert list(read_judgements(spec).values()) == [Judgement({"judge": 1.0}, "so")] * 6


@pytest.mark.parametrize("spelling", [KEY, KEY.replace("-", r"\u002d")])
def test_a_key_in_a_rationale_is_masked_and_the_score_stays(tmp_path: Path, spelling: str) -> None:
    reply = completion(f'{{"rationale": "I was given {spelling}", "score": 3}}')
    with serve_endpoint(lambda text, before: Reply(body=reply)) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), SIX)
        run_judge(spec, [spec.caption_id])
    assert list(read_judgements(spec).values()) == [Judgement({"judge": 3.0}, "I was given ***")] * 6
    assert KEY.encode() not in read_all_bytes(tmp_path)
