"""The trend: each checkpoint of the series once, this run among them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from samples import make_record, make_spec

from ray_jobs.contract.artifacts import Summary
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.report import trend as series
from ray_jobs.storage import index, objects, records

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def summary(mean: float | None, error: float | None = 0.1) -> Summary:
    return Summary(n=3, expected=3, mean=mean, standard_error=error, low=None, high=None)


def validated(
    root: str, number: int, mean: float, day: int | None = None, outcome: str = "PASS", **settings: Any
) -> Spec:
    made = make_spec(root=root, fingerprint=f"{number:016x}", called=f"step-{number}", **settings)
    told = make_record(made, outcome, NOON + timedelta(days=number if day is None else day))
    records.publish(root, told.model_copy(update={"metrics": {"chrf": summary(mean), "judge": summary(mean / 100)}}))
    return made


def trend(made: Spec, mean: float = 60.0) -> dict[str, list[series.TrendPoint]]:
    own = series.describe_run(
        made.checkpoint, made.scoring_id, "FAIL", {"chrf": summary(mean), "judge": summary(0.5, None)}
    )
    return series.build_trend(made.root, made.suite.name, made.series_id, own, ["chrf", "judge", "words"])


def test_all_of_the_series_and_this_run_at_the_end(store: str) -> None:
    for number in (1, 2):
        validated(store, number, 50.0 + number, outcome="INCONCLUSIVE" if number == 2 else "PASS")
    validated(store, 7, 1.0, caption__prompt="another question")
    found = trend(make_spec(root=store, called="step-3"))
    assert found["chrf"] == [
        series.TrendPoint("step-1", "PASS", 51.0, 0.1, False),
        series.TrendPoint("step-2", "INCONCLUSIVE", 52.0, 0.1, False),
        series.TrendPoint("step-3", "FAIL", 60.0, 0.1, True),
    ]
    assert found["judge"][-1] == series.TrendPoint("step-3", "FAIL", 0.5, 0.0, True)
    assert found["words"] == []


def test_a_run_asked_for_again_keeps_its_place(tmp_path: Path) -> None:
    first = validated(str(tmp_path), 1, 50.0)
    validated(str(tmp_path), 2, 52.0)
    assert [(one.checkpoint, one.mean, one.own) for one in trend(first)["chrf"]] == [
        ("step-1", 60.0, True),
        ("step-2", 52.0, False),
    ]


def test_one_checkpoint_under_two_names_is_two_points(tmp_path: Path) -> None:
    validated(str(tmp_path), 1, 50.0)
    again = make_spec(root=str(tmp_path), fingerprint=f"{1:016x}", called="step-1-again")
    assert [one.checkpoint for one in trend(again)["chrf"]] == ["step-1", "step-1-again"]


def test_a_judge_is_compared_with_itself_only(tmp_path: Path) -> None:
    judged: dict[str, Any] = {"judge__kind": "vllm", "judge__model": "/m"}
    validated(str(tmp_path), 1, 50.0)
    validated(str(tmp_path), 2, 52.0, **judged)
    found = trend(make_spec(root=str(tmp_path), called="step-3", **judged))
    assert [one.checkpoint for one in found["judge"]] == ["step-2", "step-3"]
    assert [one.checkpoint for one in found["chrf"]] == ["step-1", "step-2", "step-3"]


def test_a_checkpoint_with_several_runs_is_one_point_on_this_scale(tmp_path: Path) -> None:
    judged: dict[str, Any] = {"judge__kind": "vllm", "judge__model": "/m"}
    validated(str(tmp_path), 1, 50.0, day=1, **judged)
    validated(str(tmp_path), 1, 40.0, day=2)
    found = trend(make_spec(root=str(tmp_path), called="step-3", **judged))
    assert [(one.checkpoint, one.mean) for one in found["judge"]] == [("step-1", 0.5), ("step-3", 0.5)]


def test_the_last_forty(tmp_path: Path) -> None:
    for number in range(50):
        validated(str(tmp_path), number, float(number))
    found = trend(make_spec(root=str(tmp_path), called="step-50"))["chrf"]
    assert [one.checkpoint for one in found] == [f"step-{number}" for number in range(11, 51)]


def test_what_other_runs_left_never_decides_whether_there_is_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = str(tmp_path)
    for number in (1, 2):
        validated(root, number, 50.0 + number)
    (entry, _) = index.list_entries(root, "small")
    objects.write(index.uri_of(root, entry), b"{}")
    objects.delete(f"{entry.run_uri(root)}/record.json")
    objects.delete(f"{root}/index/small/index.json")
    own = make_spec(root=root, called="step-3")
    assert [one.checkpoint for one in trend(own)["chrf"]] == ["step-2", "step-3"]

    def down(root: str, suite: str) -> index.Index:
        raise RetryableError("the store is down")

    monkeypatch.setattr(index, "load_complete", down)
    assert [one.checkpoint for one in trend(own)["chrf"]] == ["step-3"]
    assert caplog.messages[-1] == "the report's trend shows this run alone: the store is down"
