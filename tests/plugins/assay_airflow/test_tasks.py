from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout
from assay_airflow import tasks
from assay_airflow.stages import StageJob
from specs import make_record, write_adapter, write_checkpoint, write_suite

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import records
from ray_jobs.storage.specs import load_spec


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The params of the form, for a checkpoint and a suite that exist."""
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"png")
    (tmp_path / "small.yaml").write_text("name: small\ndataset: {source: images}\n")
    uri = str(write_checkpoint(tmp_path / "step-1"))
    return {
        "checkpoint": uri,
        "suite": "small",
        "baseline": None,
        "force": False,
        "following": None,
    }


def test_plan_writes_the_spec_of_the_params(params: dict[str, Any]) -> None:
    spec = load_spec(tasks.plan(params, "manual__1"))
    assert (spec.checkpoint.uri, spec.suite.name, spec.force) == (params["checkpoint"], "small", None)
    assert tasks.plan(params, "manual__2") == spec.uri


def test_an_adapter_is_planned_with_its_base(
    params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(tmp_path / "adapter", params["checkpoint"])
    spec = load_spec(tasks.plan(params | {"checkpoint": str(adapter)}, "manual__1"))
    assert spec.checkpoint.base
    assert spec.checkpoint.base.uri == params["checkpoint"]
    assert (
        f"base model {params['checkpoint']}, fingerprint {spec.checkpoint.base.fingerprint}" in capsys.readouterr().out
    )


def test_the_next_checkpoint_is_in_the_spec_and_changes_no_uri(params: dict[str, Any]) -> None:
    plain, with_next = (
        tasks.plan(params, "manual__1"),
        tasks.plan(params | {"following": "s3://in/step-300/"}, "router__2"),
    )
    assert (with_next, load_spec(with_next).next_checkpoint) == (plain, "s3://in/step-300")


@pytest.fixture
def params_with_next(params: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The params with a next checkpoint."""
    return params | {"following": str(write_checkpoint(tmp_path / "step-2", b"others"))}


def test_the_next_checkpoint_is_planned_as_its_own_run_plans_it(params_with_next: dict[str, Any]) -> None:
    ahead = tasks.plan_next(params_with_next)
    assert ahead == tasks.plan(
        params_with_next | {"checkpoint": params_with_next["following"], "following": None}, "router__2"
    )
    assert load_spec(ahead).checkpoint.uri == params_with_next["following"]


def test_the_next_captions_are_the_same_job_with_this_run_as_the_baseline(params_with_next: dict[str, Any]) -> None:
    spec, ahead_spec = (
        load_spec(tasks.plan(params_with_next, "router__1")),
        load_spec(tasks.plan_next(params_with_next) or ""),
    )
    records.publish(spec.root, make_record(spec))
    own_spec = load_spec(
        tasks.plan(
            params_with_next | {"checkpoint": params_with_next["following"], "following": "/models/step-3"}, "router__2"
        )
    )
    assert own_spec.baseline
    assert own_spec.baseline.run_id == spec.run_id
    assert (ahead_spec.baseline, ahead_spec.uri != own_spec.uri) == (None, True)
    ahead_job, own_job = StageJob.of("caption", ahead_spec), StageJob.of("caption", own_spec)
    assert (ahead_job.marker, ahead_job.submission_id(0)) == (own_job.marker, own_job.submission_id(0))


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ({"following": None}, "no checkpoint follows"),
        ({"force": True}, "this run is forced"),
        ({"suite": "piar"}, "suite 'piar': not in"),
        ({"following": "ftp://in/step-2"}, "cannot open ftp://"),
        ({"following": "/nowhere/step-2"}, "checkpoint /nowhere/step-2: nothing is there"),
    ],
)
def test_an_obstacle_to_captioning_ahead_is_one_line(
    params_with_next: dict[str, Any], capsys: pytest.CaptureFixture[str], update: dict[str, Any], reason: str
) -> None:
    assert tasks.plan_next(params_with_next | update) is None
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("nothing is captioned ahead: ")
    assert reason in line


@pytest.mark.parametrize("error", [RetryableError("storage is away\ntoo long a story"), AirflowTaskTimeout()])
def test_an_error_in_planning_the_next_checkpoint_does_not_fail_this_run(
    params_with_next: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    def plan(*arguments: Any) -> Spec:
        raise error

    monkeypatch.setattr("assay_airflow.tasks.planning.plan", plan)
    assert tasks.plan_next(params_with_next) is None
    reason = "storage is away" if isinstance(error, RetryableError) else "AirflowTaskTimeout"
    assert capsys.readouterr().out == f"nothing is captioned ahead: {reason}\n"


def test_a_suite_without_a_warm_engine_plans_no_next_checkpoint(
    params_with_next: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "small.yaml").write_text("name: small\ndataset: {source: images}\nengine: {kind: ray_data_llm}\n")
    assert tasks.plan_next(params_with_next | {"following": "/nowhere"}) is None
    assert capsys.readouterr().out == "nothing is captioned ahead: its captions have no warm engine\n"


def test_a_quantised_checkpoint_is_not_captioned_ahead(
    params_with_next: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = '{"architectures": ["Tiny"], "quantization_config": {"quant_method": "torchao"}}'
    Path(params_with_next["following"], "config.json").write_text(config)
    assert tasks.plan_next(params_with_next) is None
    assert "is quantised (torchao)" in capsys.readouterr().out


def test_force_is_named_after_the_run(params: dict[str, Any]) -> None:
    assert load_spec(tasks.plan(params | {"force": True}, "manual__1")).force == "manual__1"


def test_a_checkpoint_that_lost_its_weights_is_a_retryable_error(params: dict[str, Any]) -> None:
    Path(params["checkpoint"], "model.safetensors").unlink()
    with pytest.raises(RetryableError, match=r"no \.safetensors file yet"):
        tasks.plan(params, "manual__1")


def test_an_unset_root_is_an_input_error(params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_ROOT")
    with pytest.raises(InputError, match="ASSAY_ROOT is not set"):
        tasks.plan(params, "manual__1")


def test_a_record_is_summarised_for_the_asset_event(spec: Spec) -> None:
    assert tasks.summarise_record(make_record(spec)) == {
        "checkpoint": "step-1",
        "checkpoint_uri": "/models/step-1",
        "fingerprint": "f" * 16,
        "suite": "small",
        "outcome": "PASS",
        "reason": "as told",
        "metrics": {},
        "record": f"{spec.run_uri}/record.json",
        "report": f"{spec.run_uri}/report.html",
    }


def test_without_a_prefix_the_router_skips_with_a_reason() -> None:
    with pytest.raises(AirflowSkipException, match="ASSAY_CHECKPOINTS is not set"):
        tasks.reconcile("scheduled", lambda run_ids, states: 0)


@pytest.mark.parametrize(
    ("run_type", "hour"), [("scheduled", ""), ("manual", ""), ("asset_triggered", "T"), ("operator_triggered", "T")]
)
def test_arrivals_retry_failed_runs_by_the_hour_and_other_passes_by_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_type: str, hour: str
) -> None:
    write_checkpoint(tmp_path / "in" / "step-1")
    monkeypatch.setenv("ASSAY_CHECKPOINTS", str(tmp_path / "in"))
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ASSAY_ROUTER_SUITE", "small")
    monkeypatch.setenv("ASSAY_SUITES", write_suite(tmp_path / "suites"))

    def count_failed_run(run_ids: list[str], states: list[str] | None) -> int:
        return int(states is None and "__retry-" not in run_ids[0])

    summaries: list[dict[str, Any]] = []
    [request] = tasks.reconcile(run_type, count_failed_run, tell=summaries.append)
    assert ("T" if "T" in request["trigger_run_id"].rpartition("__")[2] else "") == hour
    assert [summary["line"] for summary in summaries] == ["0 passed over, 1 to validate"]


def test_a_pass_over_a_training_run_requests_its_checkpoints_in_order_of_their_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1000, 200, 30):
        write_checkpoint(tmp_path / "run" / f"step-{step}")
    monkeypatch.setenv("ASSAY_CHECKPOINTS", str(tmp_path / "watched"))
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ASSAY_SUITES", write_suite(tmp_path / "suites"))
    requests = tasks.reconcile("manual", lambda run_ids, states: 0, f"{tmp_path}/run/", "small")
    uris = [f"{tmp_path}/run/step-{step}" for step in (30, 200, 1000)]
    assert [request["conf"]["checkpoint"] for request in requests] == uris
    assert [request["conf"].get("following") for request in requests] == [*uris[1:], None]
    with pytest.raises(InputError, match=f"training run {tmp_path}/none: no folder is in it; check the URI"):
        tasks.reconcile("manual", lambda run_ids, states: 0, f"{tmp_path}/none")
