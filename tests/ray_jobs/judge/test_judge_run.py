"""A judge behind an endpoint, through the evaluate job on a real Ray: outages, a kill, and the verdict that follows.

Captions are written by hand, so that no engine is started.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from judge_endpoint import KEY, JudgeEndpoint, Reply, answer_reply, error_reply, find_caption, serve_endpoint
from ray_cluster import Cluster
from samples import write_pictures
from stage_jobs import GOOD, copy_golden_set, kill_when, plan_spec, read_rows, run_stage, start_stage

from ray_jobs.caption import SCHEMA
from ray_jobs.contract.artifacts import Failure, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import manifests, objects, parts

pytestmark = pytest.mark.integration
COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    write_pictures(folder / "images", COUNT)
    return folder


@pytest.fixture
def golden(folder: Path, on_cluster: Cluster) -> Spec:
    """A spec whose golden set exists, of the pictures."""
    spec = plan_spec(folder, str(folder / "root"), str(GOOD), str(folder / "images"))
    if manifests.load_manifest(spec.golden_uri) is None:
        run_stage("preprocess", spec)
    return spec


def write_captioned_run(folder: Path, golden: Spec, endpoint: JudgeEndpoint) -> Spec:
    """A spec with its golden set and a caption for every image."""
    judge = {"kind": "openai", "model": "m", "base_url": endpoint.url, "concurrency": 2, "tries": 2}
    spec = plan_spec(
        folder,
        str(folder / "root"),
        str(GOOD),
        golden.suite.dataset.source,
        judge=judge | {"timeout_seconds": 5.0},
        gate={"coverage": 0.9, "metrics": {"judge": {"margin": 0.1}}},
    )
    copy_golden_set(golden, spec)
    parts_written = []
    for part in manifests.require_manifest(spec.golden_uri, "preprocess").parts:
        ids = parts.read(spec.golden_uri, part.name, ["image_id"])["image_id"].to_pylist()
        rows_of_part = [
            {"image_id": image_id, "caption": f"caption {image_id}", "finish_reason": "stop", "tokens": 2}
            for image_id in ids
        ]
        parts_written.append(
            parts.write(spec.captions_uri, part.name, pa.Table.from_pylist(rows_of_part, schema=SCHEMA), {"lost": {}})
        )
    manifests.commit(
        spec.captions_uri, manifests.build_manifest("captions", spec.caption_id, parts_written, COUNT, {}, {})
    )
    return spec


def test_killed_in_the_middle_only_what_is_unanswered_is_asked(tmp_path: Path, golden: Spec) -> None:
    with serve_endpoint(lambda text, before: Reply(hang=0.1, body=answer_reply(score=4).body)) as endpoint:
        spec = write_captioned_run(tmp_path, golden, endpoint)
        kill_when(start_stage("evaluate", spec, ASSAY_JUDGE_KEY=KEY), lambda: len(endpoint.asked) >= 7)
        assert not objects.exists(f"{spec.run_uri}/verdict.json")
        output = run_stage("evaluate", spec, ASSAY_JUDGE_KEY=KEY)
        assert "judge: resuming" in output
        assert KEY not in output
        assert len(set(endpoint.texts())) == COUNT
        assert sum(endpoint.again().values()) - len(endpoint.again()) <= 2  # what was in flight at the kill
        assert {row["judge"] for row in read_rows(spec.scores_uri)} == {4.0}
        totals = json.loads(objects.read(f"{spec.run_uri}/judge.json"))
        assert (totals["answered"], totals["asked"]["questions"], totals["cached"]) == (COUNT, COUNT, 0)
        count = len(endpoint.asked)
        for name in ("verdict.json", "scores.json"):
            objects.delete(f"{spec.run_uri}/{name}")
        run_stage("evaluate", spec, ASSAY_JUDGE_KEY=KEY)
        assert len(endpoint.asked) == count
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in stored


def test_half_of_the_answers_missing_is_no_verdict_and_is_asked_for_again(tmp_path: Path, golden: Spec) -> None:
    def half(text: str, before: int) -> Reply:
        return answer_reply(score=4) if int(find_caption(text).split()[1].split(".")[0]) % 2 else error_reply(500)

    with serve_endpoint(half) as endpoint:
        spec = write_captioned_run(tmp_path, golden, endpoint)
        run_stage("evaluate", spec, ASSAY_JUDGE_KEY=KEY)
        verdict = Verdict.model_validate_json(objects.read(f"{spec.run_uri}/verdict.json"))
        assert verdict.outcome == "INCOMPLETE"
        score_rows = read_rows(spec.scores_uri)
        assert [row["judge"] for row in score_rows].count(None) == COUNT // 2
        assert {row["judge"] for row in score_rows} == {4.0, None}
        assert {row["failure"] for row in score_rows} == {None, "judge-server-error"}

        endpoint.behave = lambda text, before: answer_reply(score=4)
        endpoint.asked.clear()
        run_stage("evaluate", spec, ASSAY_JUDGE_KEY=KEY)
        assert len(endpoint.asked) == COUNT // 2
        totals = json.loads(objects.read(f"{spec.run_uri}/judge.json"))
        assert (totals["questions"], totals["answered"], totals["failed"]) == (COUNT, COUNT, {})
        assert {(row["judge"], row["failure"]) for row in read_rows(spec.scores_uri)} == {(4.0, None)}
        assert Verdict.model_validate_json(objects.read(f"{spec.run_uri}/verdict.json")).outcome == "PASS"


@pytest.mark.parametrize(
    ("behave", "environment", "code", "line"),
    [
        (
            lambda text, before: error_reply(503),
            {"ASSAY_JUDGE_KEY": KEY},
            1,
            "6 answers in a row failed, the last: server",
        ),
        (
            lambda text, before: error_reply(401),
            {"ASSAY_JUDGE_KEY": KEY},
            2,
            "401, not this key; correct ASSAY_JUDGE_KEY",
        ),
        (lambda text, before: error_reply(401), {}, 2, "ASSAY_JUDGE_KEY is not set on the Ray cluster"),
    ],
)
def test_an_endpoint_that_is_of_no_use_ends_the_job_in_one_line(
    tmp_path: Path,
    golden: Spec,
    behave: Callable[[str, int], Reply],
    environment: dict[str, str],
    code: int,
    line: str,
) -> None:
    with serve_endpoint(behave) as endpoint:
        spec = write_captioned_run(tmp_path, golden, endpoint)
        output = run_stage("evaluate", spec, expected=code, **environment)
    failure = Failure.model_validate_json(objects.read(f"{spec.run_uri}/failure.json"))
    assert line in failure.message
    assert output.splitlines()[-1].endswith(failure.message)
    assert "Traceback" not in output
    assert KEY not in output
    assert not objects.exists(f"{spec.run_uri}/verdict.json")
