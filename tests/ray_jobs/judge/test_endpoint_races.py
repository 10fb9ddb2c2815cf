"""Kills of a job and two jobs at once: no answer is lost, and at most the requests in flight are repeated."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from endpoint_cases import answer_well, read_judgements
from judge_endpoint import Reply, answer_reply, find_caption, serve_endpoint
from judge_inputs import make_judge_spec, write_judge_inputs

from ray_jobs.contract.spec import Spec
from ray_jobs.judge.run import run_judge
from ray_jobs.storage import manifests, object_listing

pytestmark = pytest.mark.usefixtures("judge_key")


def driver(spec: Spec, tmp_path: Path) -> "subprocess.Popen[bytes]":
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(Path(__file__).with_name("judge_captions.py")), str(tmp_path / "spec.json")]
    return subprocess.Popen(command, env=environment)


@pytest.mark.integration
def test_kill_9_again_and_again_asks_only_what_is_unanswered(tmp_path: Path) -> None:
    """An answer counts as given when it is durable: a kill repeats at most the questions that were in flight."""
    many = {f"image-{number:02d}": f"caption {number}" for number in range(40)}
    enough = threading.Event()
    limit = 0
    with serve_endpoint(answer_well) as endpoint:

        def behave(text: str, before: int) -> Reply:
            if len(endpoint.asked) >= limit:
                enough.set()
            return Reply(hang=0.02, body=answer_reply(score=4).body)

        endpoint.behave = behave
        spec = write_judge_inputs(make_judge_spec(str(tmp_path / "root"), endpoint.url, concurrency=2), many)
        for kill in (9, 22, 31):
            limit = kill
            enough.clear()
            process = driver(spec, tmp_path)
            assert enough.wait(60)
            process.kill()
            process.wait()
        limit = 10**6
        assert driver(spec, tmp_path).wait() == 0
        assert len(read_judgements(spec)) == 40
        assert not any(judgement.failure for judgement in read_judgements(spec).values())
        assert set(map(find_caption, endpoint.texts())) == set(many.values())
        assert sum(endpoint.again().values()) - len(endpoint.again()) <= 3 * 2
        assert run_judge(spec, [spec.caption_id]).run_usage.questions == 40
    for part in range(10):
        assert len(list(object_listing.iterate_entries(f"{spec.judge_uri}/{manifests.name_of_part(part)}"))) == 1


def test_two_jobs_at_once_both_succeed(tmp_path: Path) -> None:
    many = {f"image-{number:02d}": f"caption {number}" for number in range(40)}
    with serve_endpoint(lambda text, before: Reply(hang=0.005, body=answer_reply(score=4).body)) as endpoint:
        specs = [
            write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, called), many)
            for called in ("step-1", "step-2")
        ]
        failed: list[BaseException] = []

        def work(spec: Spec) -> None:
            try:
                run_judge(spec, [spec.caption_id])
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(spec,)) for spec in specs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        for spec in specs:
            assert {judgement.values.get("judge") for judgement in read_judgements(spec).values()} == {4.0}
        before = len(endpoint.asked)
        run_judge(specs[0], [specs[0].caption_id])
        assert len(endpoint.asked) == before
