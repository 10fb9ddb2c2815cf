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


def manifest(stage: Any, rows_in: int, **lost: int) -> Manifest:
    return Manifest(
        stage=stage,
        id="x",
        rows_in=rows_in,
        rows_out=rows_in - sum(lost.values()),
        lost=lost,
        parts=(),
        seconds={"steady": 1.5},
        versions={"vllm": "0.29.0"},
        created_at=datetime.now(UTC),
    )


def leave(made: Spec, captions_in: int = 9, scores_in: int = 9) -> None:
    """What the stages leave: of 12 images 3 rejected, 1 not captioned, 2 not scored."""
    golden, captions = manifest("golden", 12, empty=2, corrupt=1), manifest("captions", captions_in, engine=1)
    scores = Scores(
        run_id=made.run_id,
        scoring_id=made.scoring_id,
        images=scores_in,
        scored=scores_in - 2,
        failed={"no-caption": 1, "judge-silent": 1},
        metrics={},
        manifest=manifest("scores", scores_in, **{"no-caption": 1, "judge-silent": 1}),
    )
    objects.write(f"{made.golden_uri}/manifest.json", golden.model_dump_json().encode())
    objects.write(f"{made.captions_uri}/manifest.json", captions.model_dump_json().encode())
    objects.write(f"{made.run_uri}/scores.json", scores.model_dump_json().encode())
    say(made, "FAIL", "chrf 9 worse")
    objects.write(made.uri, made.model_dump_json().encode())


def say(made: Spec, outcome: Outcome, reason: str) -> None:
    """The verdict that evaluate leaves."""
    verdict = Verdict(outcome=outcome, reason=reason, baseline=None, alpha=0.0027)
    objects.write(f"{made.run_uri}/verdict.json", verdict.model_dump_json().encode())


@pytest.fixture
def made(tmp_path: Path) -> Spec:
    return make_spec(root=str(tmp_path))


def test_the_record_counts_every_image(made: Spec) -> None:
    leave(made)
    record = publish.publish(made)
    assert record.images == {"read": 12, "rejected": 3, "captioned": 8, "failed": 1, "scored": 7}
    assert record.images["read"] == sum(record.images[name] for name in ("rejected", "captioned", "failed"))
    assert record.verdict.outcome == "FAIL"
    assert record.seconds["caption"] == {"steady": 1.5}
    assert publish.publish(made) == record


@pytest.mark.parametrize(("captions_in", "scores_in"), [(8, 8), (9, 8), (8, 9), (10, 10)])
def test_stages_that_do_not_add_up_are_not_published(made: Spec, captions_in: int, scores_in: int) -> None:
    leave(made, captions_in, scores_in)
    with pytest.raises(InputError, match="the stages do not add up"):
        publish.publish(made)
    assert not objects.exists(f"{made.run_uri}/record.json")


MISSING: list[Callable[[Spec], str]] = [
    lambda made: f"{made.golden_uri}/manifest.json",
    lambda made: f"{made.captions_uri}/manifest.json",
    lambda made: f"{made.run_uri}/scores.json",
    lambda made: f"{made.run_uri}/verdict.json",
]


@pytest.mark.parametrize("missing", MISSING)
def test_a_stage_that_is_not_complete(
    made: Spec, missing: Callable[[Spec], str], capsys: pytest.CaptureFixture[str]
) -> None:
    leave(made)
    objects.delete(missing(made))
    assert cli.main(["publish", "--spec", made.uri]) == 2
    assert capsys.readouterr().err == f"{missing(made)}: missing, so its stage is not complete; run the stage again\n"


def test_the_command_says_the_verdict(made: Spec, capsys: pytest.CaptureFixture[str]) -> None:
    leave(made)
    assert cli.main(["publish", "--spec", made.uri]) == 0
    assert capsys.readouterr().out == "step-1: FAIL: chrf 9 worse\n"


def test_a_program_is_told_the_verdict_and_where_its_files_are(made: Spec, capsys: pytest.CaptureFixture[str]) -> None:
    leave(made)
    assert cli.main(["publish", "--spec", made.uri, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "checkpoint": made.checkpoint.uri, "outcome": "FAIL", "reason": "chrf 9 worse", "baseline": None,
        "run_uri": made.run_uri, "record_uri": f"{made.run_uri}/record.json",
        "report_uri": f"{made.run_uri}/report.html",
    }  # fmt: skip


def test_incomplete_is_replaced_and_nothing_else_is(made: Spec) -> None:
    leave(made)
    say(made, "INCOMPLETE", "judge down")
    assert publish.publish(made).verdict.outcome == "INCOMPLETE"
    for outcome in ("PASS", "FAIL"):  # the second without force
        say(made, outcome, "as told")
        assert publish.publish(made).verdict.outcome == "PASS"
    assert [one.outcome for one in index.list_entries(made.root, "small")] == ["PASS"]


def test_a_forced_run_tells_what_it_found(made: Spec) -> None:
    leave(made)
    first = publish.publish(made)
    say(made, "FAIL", "chrf 8 worse")
    assert publish.publish(made) == first
    forced = made.model_copy(update={"force": "manual__1"})
    record = publish.publish(forced)
    assert record.verdict.reason == "chrf 8 worse"
    assert publish.publish(forced) == publish.publish(made) == record


def test_a_verdict_that_came_while_an_older_one_was_published_is_published(
    made: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one has read an INCOMPLETE, and writes it over the PASS that another published meanwhile."""
    leave(made)
    say(made, "INCOMPLETE", "judge down")
    publish.publish(made)
    say(made, "INCOMPLETE", "less of it is down")
    write = objects.write
    raced: list[Any] = []

    def slow(uri: str, data: bytes) -> None:
        if uri.endswith("/record.json") and not raced:
            raced.append(uri)
            say(made, "PASS", "all answered")
            assert publish.publish(made).verdict.outcome == "PASS"
        write(uri, data)

    monkeypatch.setattr(objects, "write", slow)
    assert publish.publish(made).verdict.outcome == "PASS"
    assert raced
    assert records.read(made.run_uri).verdict.outcome == "PASS"
    assert [one.outcome for one in index.list_entries(made.root, "small")] == ["PASS"]


def test_trouble_is_one_line_and_exit_code_1(
    made: Spec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(made)

    def down(uri: str, data: bytes) -> bool:
        raise RetryableError(f"cannot write {uri}: the store is down")

    monkeypatch.setattr(objects, "create", down)
    assert cli.main(["publish", "--spec", made.uri]) == 1
    assert capsys.readouterr().err == f"cannot write {made.run_uri}/record.json: the store is down\n"
