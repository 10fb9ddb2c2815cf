"""The choice of shares as the drivers make it. Ray's view of the cluster and the GPU's memory are stood in for."""

from pathlib import Path
from typing import Any

import pytest
from stage_jobs import DEMO, GOOD, plan_spec

from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client import gpu_shares
from ray_jobs.inputs.errors import InputError

JUDGE = {"kind": "vllm", "model": str(DEMO / "judge"), "prompt": "judge: {caption}"}


@pytest.fixture(autouse=True)
def _one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    set_cluster(monkeypatch, 1)
    monkeypatch.setattr(gpu_shares, "_ask_gpu_bytes", lambda: 80 << 30)


def set_cluster(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0} | ({"GPU": float(count)} if count else {}))


def plan_with(folder: Path, judge: dict[str, Any] = JUDGE, **engine: Any) -> Spec:
    return plan_spec(folder, str(folder / "root"), str(GOOD), str(DEMO / "images"), engine=engine, judge=judge)


def shares(spec: Spec) -> tuple[float | None, float | None]:
    captions, judge = gpu_shares.share_gpu(spec)
    return captions.gpu_memory_utilization, judge.gpu_memory_utilization


def test_on_one_gpu_shares_are_chosen_and_no_id_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = plan_with(tmp_path)
    with caplog.at_level("INFO", "assay"):
        assert shares(spec) == (0.45, 0.45)
    (line,) = caplog.messages
    assert line.startswith("engine: gpu_memory_utilization 0.45 for the captions and 0.45 for the judge are chosen, so")
    captions, judge = gpu_shares.share_gpu(spec)
    chosen = plan_with(tmp_path, gpu_memory_utilization=captions.gpu_memory_utilization,
                       judge=JUDGE | {"engine": {"gpu_memory_utilization": judge.gpu_memory_utilization}})  # fmt: skip
    assert (chosen.caption_id, chosen.judge_id, chosen.run_id) == (spec.caption_id, spec.judge_id, spec.run_id)


def test_a_stored_spec_gets_the_same_shares(tmp_path: Path) -> None:
    assert shares(Spec.model_validate_json(plan_with(tmp_path).model_dump_json(by_alias=True))) == (0.45, 0.45)


def test_the_share_of_the_suite_wins(tmp_path: Path) -> None:
    assert shares(plan_with(tmp_path, gpu_memory_utilization=0.3)) == (0.3, 0.5)
    both = plan_with(tmp_path, judge=JUDGE | {"engine": {"gpu_memory_utilization": 0.9}}, gpu_memory_utilization=0.9)
    assert shares(both) == (0.9, 0.9)


@pytest.mark.parametrize("count", [0, 2])
def test_without_a_gpu_or_with_two_nothing_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    set_cluster(monkeypatch, count)
    assert shares(plan_with(tmp_path)) == (None, None)


@pytest.mark.parametrize(
    ("setting", "up", "expected"),
    [
        (None, 1, None),  # nobody knows how many may be started
        ("1", 1, 0.45),
        ("0", 1, 0.45),  # no node is started later
        ("0", 2, None),
        ("2", 1, None),
        ("1", 2, None),
    ],
)
def test_a_cluster_that_may_start_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None, up: int, expected: float | None
) -> None:
    set_cluster(monkeypatch, up)
    monkeypatch.setenv("ASSAY_GPU", "1")
    if setting is not None:
        monkeypatch.setenv("ASSAY_MAX_GPUS", setting)
    assert shares(plan_with(tmp_path)) == (expected, expected)


def test_an_invalid_number_of_gpus_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_MAX_GPUS", "many")
    with pytest.raises(InputError, match="ASSAY_MAX_GPUS is 'many'; set it to the number"):
        gpu_shares.share_gpu(plan_with(tmp_path))


@pytest.mark.parametrize("engine", [{"replicas": 2}, {"tensor_parallel_size": 2}, {"quantization": "fp8"}])
def test_other_engines_are_left_alone(tmp_path: Path, engine: dict[str, Any]) -> None:
    engine = engine | ({"keep_seconds": 900} if "quantization" in engine else {})
    assert shares(plan_with(tmp_path, **engine)) == (None, None)


def test_without_a_judge_on_a_gpu_nothing_is_chosen(tmp_path: Path) -> None:
    assert shares(plan_with(tmp_path, judge={"kind": "none"})) == (None, None)


@pytest.mark.parametrize("fault", [OSError("the node is gone"), None])
def test_a_gpu_of_unknown_memory_is_used_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception | None
) -> None:
    def ask() -> int | None:
        if fault:
            raise fault
        return None

    monkeypatch.setattr(gpu_shares, "_ask_gpu_bytes", ask)
    with caplog.at_level("INFO", "assay"):
        assert shares(plan_with(tmp_path)) == (None, None)
    assert [line.startswith("engine: shares of the GPU are not chosen: ") for line in caplog.messages] == [True]
