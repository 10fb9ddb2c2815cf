"""The checkpoints and suites that a warm engine does not take, by the checkpoint's own config."""

import json
from pathlib import Path
from typing import Any

import pytest
from adapters import make_random_pair, write_adapter, write_quantised
from samples import checkpoint_files, upload
from stage_jobs import DEMO, GOOD

from ray_jobs.checkpoints import inspect
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.client.warm import why_not_warm


def why_not_warm_with(tmp_path: Path, config: dict[str, Any], files: dict[str, bytes] | None = None) -> str | None:
    contents = checkpoint_files() | {"config.json": json.dumps({"architectures": ["Tiny"]} | config).encode()}
    return why_not_warm(inspect.resolve(upload(str(tmp_path / "m"), contents | (files or {}))), Engine())


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"producer": {"name": "modelopt"}}}, "unnamed"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"text_config": {"quantization_config": {"quant_method": "torchao"}}}, "torchao"),
    ],
)
def test_a_checkpoint_whose_config_says_that_it_is_quantised(
    tmp_path: Path, config: dict[str, Any], method: str
) -> None:
    assert why_not_warm_with(tmp_path, config) == f"the checkpoint is quantised ({method})"


def test_one_with_a_file_of_modelopts(tmp_path: Path) -> None:
    assert why_not_warm_with(tmp_path, {}, {"hf_quant_config.json": b"{}"}) == "the checkpoint is quantised (modelopt)"


@pytest.mark.parametrize("config", [{}, {"quantization_config": None, "text_config": {"dtype": "bfloat16"}}])
def test_a_config_without_quantisation_is_warm(tmp_path: Path, config: dict[str, Any]) -> None:
    assert why_not_warm_with(tmp_path, config) is None


def test_one_quantised_for_real_and_an_adapter_that_is_not(tmp_path: Path) -> None:
    checkpoint = write_quantised(GOOD, tmp_path / "quantised")
    assert (
        why_not_warm(inspect.resolve(str(checkpoint)), Engine()) == "the checkpoint is quantised (compressed-tensors)"
    )
    pair = {"model.layers.0.self_attn.q_proj": make_random_pair((96, 96), 4, 0)}
    adapter = write_adapter(tmp_path / "adapter", pair)
    assert why_not_warm(inspect.resolve(str(adapter), str(DEMO / "checkpoints" / "step-0300")), Engine()) is None


def test_an_engine_that_is_to_quantise() -> None:
    assert why_not_warm(inspect.resolve(str(GOOD)), Engine(quantization="fp8")) == "the weights are quantised (fp8)"


@pytest.mark.parametrize(("gpus", "fit"), [((0, 0), True), ((0, 2), True), ((8,), True), ((1, 1, 0), False)])
def test_a_model_that_is_spread_over_gpus_of_one_node(
    gpus: tuple[int, ...], fit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without GPUs, the model is spread over processes, which may be on any node."""
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0} | ({"GPU": float(count)} if count else {})} for count in gpus]
    dead = {"Alive": False, "Resources": {"GPU": 8.0}}
    monkeypatch.setattr("ray.nodes", lambda: [*nodes, dead])
    why = None if fit else "no node has the 2 GPUs that the model is spread over"
    assert why_not_warm(inspect.resolve(str(GOOD)), Engine(tensor_parallel_size=2)) == why
