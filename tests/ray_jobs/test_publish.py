import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from samples import make_spec

from ray_jobs import cli, publish
from ray_jobs.contract.artifacts import Manifest, Outcome, Scores, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import index, objects, records


def manifest(stage: Any, rows_in: int, **lost_counts: int) -> Manifest:
    return Manifest(
        stage=stage,
        id="x",
        rows_in=rows_in,
        rows_out=rows_in - sum(lost_counts.values()),
        lost=lost_counts,
        parts=(),
        seconds={"steady": 1.5},
        versions={"vllm": "0.29.0"},
        created_at=datetime.now(UTC),
    )


def write_stages(spec: Spec, captions_in: int = 9, scores_in: int = 9) -> None:
    """Write the results of the stages: of 12 images 3 rejected, 1 not captioned, 2 not scored."""
    golden, captions = manifest("golden", 12, empty=2, corrupt=1), manifest("captions", captions_in, engine=1)
    scores = Scores(
        run_id=spec.run_id,
        scoring_id=spec.scoring_id,
        images=scores_in,
        scored=scores_in - 2,
        failed={"no-caption": 1, "judge-silent": 1},
        metrics={},
        manifest=manifest("scores", scores_in, **{"no-caption": 1, "judge-silent": 1}),
    )
    objects.write(f"{spec.golden_uri}/manifest.json", golden.model_dump_json().encode())
    objects.write(f"{spec.captions_uri}/manifest.json", captions.model_dump_json().encode())
    objects.write(f"{spec.run_uri}/scores.json", scores.model_dump_json().encode())
    write_verdict(spec, "FAIL", "chrf 9 worse")
    objects.write(spec.uri, spec.model_dump_json().encode())


def write_verdict(spec: Spec, outcome: Outcome, reason: str) -> None:
    """Write the verdict as evaluate does."""
    verdict = Verdict(outcome=outcome, reason=reason, baseline=None, alpha=0.0027)
    objects.write(f"{spec.run_uri}/verdict.json", verdict.model_dump_json().encode())


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return make_spec(root=str(tmp_path))


def test_the_record_counts_every_image(spec: Spec) -> None:
    write_stages(spec)
    record = publish.publish(spec)
    assert record.images == {"read": 12, "rejected": 3, "captioned": 8, "failed": 1, "scored": 7}
    assert record.images["read"] == sum(record.images[name] for name in ("rejected", "captioned", "failed"))
    assert record.verdict.outcome == "FAIL"
    assert record.seconds["caption"] == {"steady": 1.5}
    assert publish.publish(spec) == record


@pytest.mark.parametrize(("captions_in", "scores_in"), [(8, 8), (9, 8), (8, 9), (10, 10)])
def test_stages_that_do_not_add_up_are_not_published(spec: Spec, captions_in: int, scores_in: int) -> None:
    write_stages(spec, captions_in, scores_in)
    with pytest.raises(InputError, match="the stages do not add up"):
        publish.publish(spec)
    assert not objects.exists(f"{spec.run_uri}/record.json")


MISSING: list[Callable[[Spec], str]] = [
    lambda spec: f"{spec.golden_uri}/manifest.json",
    lambda spec: f"{spec.captions_uri}/manifest.json",
    lambda spec: f"{spec.run_uri}/scores.json",
    lambda spec: f"{spec.run_uri}/verdict.json",
]


@pytest.mark.parametrize("missing", MISSING)
def test_a_stage_that_is_not_complete(
    spec: Spec, missing: Callable[[Spec], str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_stages(spec)
    objects.delete(missing(spec))
    assert cli.main(["publish", "--spec", spec.uri]) == 2
    assert capsys.readouterr().err == f"{missing(spec)}: missing, so its stage is not complete; run the stage again\n"


def test_the_command_says_the_verdict(spec: Spec, capsys: pytest.CaptureFixture[str]) -> None:
    write_stages(spec)
    assert cli.main(["publish", "--spec", spec.uri]) == 0
    assert capsys.readouterr().out == "step-1: FAIL: chrf 9 worse\n"


def test_json_output_has_the_verdict_and_its_files(spec: Spec, capsys: pytest.CaptureFixture[str]) -> None:
    write_stages(spec)
    assert cli.main(["publish", "--spec", spec.uri, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "checkpoint": spec.checkpoint.uri, "outcome": "FAIL", "reason": "chrf 9 worse", "baseline": None,
        "run_uri": spec.run_uri, "record_uri": f"{spec.run_uri}/record.json",
        "report_uri": f"{spec.run_uri}/report.html",
    }  # fmt: skip


def test_incomplete_is_replaced_and_nothing_else_is(spec: Spec) -> None:
    write_stages(spec)
    write_verdict(spec, "INCOMPLETE", "judge down")
    assert publish.publish(spec).verdict.outcome == "INCOMPLETE"
    for outcome in ("PASS", "FAIL"):  # the second without force
        write_verdict(spec, outcome, "as told")
        assert publish.publish(spec).verdict.outcome == "PASS"
    assert [entry.outcome for entry in index.list_entries(spec.root, "small")] == ["PASS"]


def test_a_forced_run_publishes_its_verdict(spec: Spec) -> None:
    write_stages(spec)
    first = publish.publish(spec)
    write_verdict(spec, "FAIL", "chrf 8 worse")
    assert publish.publish(spec) == first
    forced_spec = spec.model_copy(update={"force": "manual__1"})
    record = publish.publish(forced_spec)
    assert record.verdict.reason == "chrf 8 worse"
    assert publish.publish(forced_spec) == publish.publish(spec) == record


def test_a_verdict_that_came_while_an_older_one_was_published_is_published(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow publisher has read an INCOMPLETE, and writes it over the PASS that another published meanwhile."""
    write_stages(spec)
    write_verdict(spec, "INCOMPLETE", "judge down")
    publish.publish(spec)
    write_verdict(spec, "INCOMPLETE", "less of it is down")
    write = objects.write
    threads: list[Any] = []

    def write_slowly(uri: str, data: bytes) -> None:
        if uri.endswith("/record.json") and not threads:
            threads.append(uri)
            write_verdict(spec, "PASS", "all answered")
            assert publish.publish(spec).verdict.outcome == "PASS"
        write(uri, data)

    monkeypatch.setattr(objects, "write", write_slowly)
    assert publish.publish(spec).verdict.outcome == "PASS"
    assert threads
    assert records.read(spec.run_uri).verdict.outcome == "PASS"
    assert [entry.outcome for entry in index.list_entries(spec.root, "small")] == ["PASS"]


def test_trouble_is_one_line_and_exit_code_1(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stages(spec)

    def down(uri: str, data: bytes) -> bool:
        raise RetryableError(f"cannot write {uri}: the store is down")

    monkeypatch.setattr(objects, "create", down)
    assert cli.main(["publish", "--spec", spec.uri]) == 1
    assert capsys.readouterr().err == f"cannot write {spec.run_uri}/record.json: the store is down\n"
