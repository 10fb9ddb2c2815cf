from pathlib import Path
from typing import Any

import pytest
from assay_airflow import caption_ahead
from specs import make_spec, write_checkpoint

from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.suite import Suite

VLLM = {"kind": "vllm", "model": "/models/judge"}
ENDPOINT = {"kind": "openai", "model": "m", "base_url": "http://judge"}


def suite_with(**sections: Any) -> Suite:
    return Suite.model_validate({"name": "small", "dataset": {"source": "/data/images"}, **sections})


def suite_with_judge(captions: dict[str, Any], judge: dict[str, Any]) -> Suite:
    return suite_with(engine=captions, judge=VLLM | {"engine": judge})


def gpu_share(share: float, **settings: Any) -> dict[str, Any]:
    return {"gpu_memory_utilization": share, **settings}


@pytest.mark.parametrize("judge", [{"kind": "none"}, ENDPOINT], ids=["none", "endpoint"])
def test_without_a_judge_on_a_gpu_captioning_ahead_is_allowed(judge: dict[str, Any]) -> None:
    assert (
        caption_ahead.find_suite_obstacle(
            suite_with(judge=judge, engine=gpu_share(0.9, replicas=2, tensor_parallel_size=2))
        )
        is None
    )


@pytest.mark.parametrize(
    ("captions", "judge"),
    [
        (gpu_share(0.45), gpu_share(0.45)),
        (gpu_share(0.5), gpu_share(0.5)),
        (gpu_share(0.3, replicas=2), gpu_share(0.4)),
        (gpu_share(0.45), gpu_share(0.45, replicas=3)),  # the judge goes on without the replicas that find no room
    ],
)
def test_a_judge_that_fits_beside_the_captions_is_no_obstacle(captions: dict[str, Any], judge: dict[str, Any]) -> None:
    assert caption_ahead.find_suite_obstacle(suite_with_judge(captions, judge)) is None


@pytest.mark.parametrize(
    ("captions", "judge"),
    [
        ({}, {}),
        (gpu_share(0.6), gpu_share(0.4)),  # for Ray, more than half of a GPU is a whole GPU
        (gpu_share(0.4), gpu_share(0.6)),
        (gpu_share(0.45, replicas=2), gpu_share(0.45)),
        (gpu_share(0.45, tensor_parallel_size=2), gpu_share(0.45)),
        (gpu_share(0.45), gpu_share(0.45, tensor_parallel_size=2)),
        (gpu_share(0.45), gpu_share(0.45, kind="ray_data_llm")),  # has a whole GPU
        (gpu_share(0.45), gpu_share(0.45, quantization="fp8")),
    ],
)
def test_a_judge_that_does_not_fit_beside_the_captions_is_an_obstacle(
    captions: dict[str, Any], judge: dict[str, Any]
) -> None:
    assert (
        caption_ahead.find_suite_obstacle(suite_with_judge(captions, judge))
        == "the judge's engine does not fit on a GPU beside the captions'"
    )


@pytest.mark.parametrize("engine", [{"kind": "ray_data_llm"}, {"quantization": "fp8"}])
def test_without_a_warm_engine_nothing_is_captioned_ahead(engine: dict[str, Any]) -> None:
    assert caption_ahead.find_suite_obstacle(suite_with(engine=engine)) == "its captions have no warm engine"


def test_clip_on_a_gpu_is_an_obstacle() -> None:
    assert (
        caption_ahead.find_suite_obstacle(suite_with(metrics={"clip": "/models/clip"})) == "CLIP takes a GPU of its own"
    )


def write_model(folder: Path, config: str) -> Checkpoint:
    uri = write_checkpoint(folder)
    (uri / "config.json").write_text(config)
    return Checkpoint(uri=str(uri), name=folder.name, fingerprint="f" * 16)


@pytest.mark.parametrize("model_role", ["checkpoint", "judge", "base"])
def test_a_quantised_model_has_no_warm_engine(tmp_path: Path, model_role: str) -> None:
    plain = write_model(tmp_path / "plain", "{}")
    quantised = write_model(tmp_path / "packed", '{"quantization_config": {"quant_method": "awq"}}')
    spec: Spec = make_spec(tmp_path).model_copy(update={"checkpoint": plain, "judge": plain})
    assert caption_ahead.find_checkpoint_obstacle(spec) is None
    changes = {"judge": spec.judge, "checkpoint": spec.checkpoint}
    changes |= (
        {"checkpoint": plain.model_copy(update={"base": quantised})}
        if model_role == "base"
        else {model_role: quantised}
    )
    name = plain.uri if model_role == "base" else quantised.uri
    assert (
        caption_ahead.find_checkpoint_obstacle(spec.model_copy(update=changes))
        == f"{name} is quantised (awq) and has no warm engine"
    )
