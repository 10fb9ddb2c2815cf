from pathlib import Path
from typing import Any

import pytest
from assay_airflow import caption_ahead
from specs import checkpoint_in, spec_in

from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.suite import Suite

VLLM = {"kind": "vllm", "model": "/models/judge"}
ENDPOINT = {"kind": "openai", "model": "m", "base_url": "http://judge"}


def suite(**sections: Any) -> Suite:
    return Suite.model_validate({"name": "small", "dataset": {"source": "/data/images"}, **sections})


def beside(captions: dict[str, Any], judge: dict[str, Any]) -> Suite:
    return suite(engine=captions, judge=VLLM | {"engine": judge})


def takes(share: float, **settings: Any) -> dict[str, Any]:
    return {"gpu_memory_utilization": share, **settings}


@pytest.mark.parametrize("judge", [{"kind": "none"}, ENDPOINT], ids=["none", "endpoint"])
def test_without_a_judge_on_a_gpu_the_captions_may_have_it(judge: dict[str, Any]) -> None:
    assert (
        caption_ahead.find_suite_obstacle(suite(judge=judge, engine=takes(0.9, replicas=2, tensor_parallel_size=2)))
        is None
    )


@pytest.mark.parametrize(
    ("captions", "judge"),
    [
        (takes(0.45), takes(0.45)),
        (takes(0.5), takes(0.5)),
        (takes(0.3, replicas=2), takes(0.4)),
        (takes(0.45), takes(0.45, replicas=3)),  # the judge goes on without those that find no room
    ],
)
def test_a_judge_beside_the_captions_is_no_hindrance(captions: dict[str, Any], judge: dict[str, Any]) -> None:
    assert caption_ahead.find_suite_obstacle(beside(captions, judge)) is None


@pytest.mark.parametrize(
    ("captions", "judge"),
    [
        ({}, {}),
        (takes(0.6), takes(0.4)),  # more than half of a GPU is all of it to Ray
        (takes(0.4), takes(0.6)),
        (takes(0.45, replicas=2), takes(0.45)),
        (takes(0.45, tensor_parallel_size=2), takes(0.45)),
        (takes(0.45), takes(0.45, tensor_parallel_size=2)),
        (takes(0.45), takes(0.45, kind="ray_data_llm")),  # has a whole GPU
        (takes(0.45), takes(0.45, quantization="fp8")),
    ],
)
def test_a_judge_is_not_kept_from_its_gpu(captions: dict[str, Any], judge: dict[str, Any]) -> None:
    assert (
        caption_ahead.find_suite_obstacle(beside(captions, judge))
        == "the judge's engine does not fit on a GPU beside the captions'"
    )


@pytest.mark.parametrize("engine", [{"kind": "ray_data_llm"}, {"quantization": "fp8"}])
def test_only_a_warm_engine_makes_jobs_wait_for_each_other(engine: dict[str, Any]) -> None:
    assert caption_ahead.find_suite_obstacle(suite(engine=engine)) == "its captions have no warm engine"


def test_clip_is_not_kept_from_its_gpu() -> None:
    assert caption_ahead.find_suite_obstacle(suite(metrics={"clip": "/models/clip"})) == "CLIP takes a GPU of its own"


def model(folder: Path, config: str) -> Checkpoint:
    uri = checkpoint_in(folder)
    (uri / "config.json").write_text(config)
    return Checkpoint(uri=str(uri), name=folder.name, fingerprint="f" * 16)


@pytest.mark.parametrize("which", ["checkpoint", "judge", "base"])
def test_what_is_stored_quantised_has_no_warm_engine(tmp_path: Path, which: str) -> None:
    plain = model(tmp_path / "plain", "{}")
    packed = model(tmp_path / "packed", '{"quantization_config": {"quant_method": "awq"}}')
    spec: Spec = spec_in(tmp_path).model_copy(update={"checkpoint": plain, "judge": plain})
    assert caption_ahead.find_checkpoint_obstacle(spec) is None
    changes = {"judge": spec.judge, "checkpoint": spec.checkpoint}
    changes |= {"checkpoint": plain.model_copy(update={"base": packed})} if which == "base" else {which: packed}
    name = plain.uri if which == "base" else packed.uri
    assert (
        caption_ahead.find_checkpoint_obstacle(spec.model_copy(update=changes))
        == f"{name} is quantised (awq) and has no warm engine"
    )
