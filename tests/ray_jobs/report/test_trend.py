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


def publish_run(
    root: str, number: int, mean: float, day: int | None = None, outcome: str = "PASS", **settings: Any
) -> Spec:
    spec = make_spec(root=root, fingerprint=f"{number:016x}", called=f"step-{number}", **settings)
    record = make_record(spec, outcome, NOON + timedelta(days=number if day is None else day))
    records.publish(root, record.model_copy(update={"metrics": {"chrf": summary(mean), "judge": summary(mean / 100)}}))
    return spec


def trend(spec: Spec, mean: float = 60.0) -> dict[str, list[series.TrendPoint]]:
    own_entry = series.describe_run(
        spec.checkpoint, spec.scoring_id, "FAIL", {"chrf": summary(mean), "judge": summary(0.5, None)}
    )
    return series.build_trend(spec.root, spec.suite.name, spec.series_id, own_entry, ["chrf", "judge", "words"])


def test_all_of_the_series_and_this_run_at_the_end(store: str) -> None:
    for number in (1, 2):
        publish_run(store, number, 50.0 + number, outcome="INCONCLUSIVE" if number == 2 else "PASS")
    publish_run(store, 7, 1.0, caption__prompt="another question")
    points = trend(make_spec(root=store, called="step-3"))
    assert points["chrf"] == [
        series.TrendPoint("step-1", "PASS", 51.0, 0.1, False),
        series.TrendPoint("step-2", "INCONCLUSIVE", 52.0, 0.1, False),
        series.TrendPoint("step-3", "FAIL", 60.0, 0.1, True),
    ]
    assert points["judge"][-1] == series.TrendPoint("step-3", "FAIL", 0.5, 0.0, True)
    assert points["words"] == []


def test_a_repeated_run_keeps_its_place(tmp_path: Path) -> None:
    first = publish_run(str(tmp_path), 1, 50.0)
    publish_run(str(tmp_path), 2, 52.0)
    assert [(point.checkpoint, point.mean, point.is_current) for point in trend(first)["chrf"]] == [
        ("step-1", 60.0, True),
        ("step-2", 52.0, False),
    ]


def test_one_checkpoint_under_two_names_is_two_points(tmp_path: Path) -> None:
    publish_run(str(tmp_path), 1, 50.0)
    again = make_spec(root=str(tmp_path), fingerprint=f"{1:016x}", called="step-1-again")
    assert [point.checkpoint for point in trend(again)["chrf"]] == ["step-1", "step-1-again"]


def test_a_judge_is_compared_with_itself_only(tmp_path: Path) -> None:
    judge_settings: dict[str, Any] = {"judge__kind": "vllm", "judge__model": "/m"}
    publish_run(str(tmp_path), 1, 50.0)
    publish_run(str(tmp_path), 2, 52.0, **judge_settings)
    points = trend(make_spec(root=str(tmp_path), called="step-3", **judge_settings))
    assert [point.checkpoint for point in points["judge"]] == ["step-2", "step-3"]
    assert [point.checkpoint for point in points["chrf"]] == ["step-1", "step-2", "step-3"]


def test_a_checkpoint_with_several_runs_is_one_point_on_this_scale(tmp_path: Path) -> None:
    judge_settings: dict[str, Any] = {"judge__kind": "vllm", "judge__model": "/m"}
    publish_run(str(tmp_path), 1, 50.0, day=1, **judge_settings)
    publish_run(str(tmp_path), 1, 40.0, day=2)
    points = trend(make_spec(root=str(tmp_path), called="step-3", **judge_settings))
    assert [(point.checkpoint, point.mean) for point in points["judge"]] == [("step-1", 0.5), ("step-3", 0.5)]


def test_the_last_forty(tmp_path: Path) -> None:
    for number in range(50):
        publish_run(str(tmp_path), number, float(number))
    points = trend(make_spec(root=str(tmp_path), called="step-50"))["chrf"]
    assert [point.checkpoint for point in points] == [f"step-{number}" for number in range(11, 51)]


def test_what_other_runs_left_never_decides_whether_there_is_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = str(tmp_path)
    for number in (1, 2):
        publish_run(root, number, 50.0 + number)
    (entry, _) = index.list_entries(root, "small")
    objects.write(index.uri_of(root, entry), b"{}")
    objects.delete(f"{entry.run_uri(root)}/record.json")
    objects.delete(f"{root}/index/small/index.json")
    own_spec = make_spec(root=root, called="step-3")
    assert [point.checkpoint for point in trend(own_spec)["chrf"]] == ["step-2", "step-3"]

    def down(root: str, suite: str) -> index.Index:
        raise RetryableError("the store is down")

    monkeypatch.setattr(index, "load_complete", down)
    assert [point.checkpoint for point in trend(own_spec)["chrf"]] == ["step-3"]
    assert caplog.messages[-1] == "the report's trend shows this run alone: the store is down"
