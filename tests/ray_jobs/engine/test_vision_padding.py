from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ray_jobs.engine.vision_padding import pad_tensor, pad_vision_mlp

PREFIX = "visual.blocks.3.mlp."


def config(width: int, **more: Any) -> Any:
    namespace = SimpleNamespace(
        model_type="qwen2_5_vl", architectures=None, vision_config=SimpleNamespace(intermediate_size=width), **more
    )
    namespace.get_text_config = lambda: namespace
    return namespace


def test_a_layer_padded_with_zeros_has_the_same_output() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"gate_proj.weight": (30, 8), "gate_proj.bias": (30,), "up_proj.weight": (30, 8), "up_proj.bias": (30,)}
    shapes |= {"down_proj.weight": (8, 30), "down_proj.bias": (8,)}
    narrow = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    changes = pad_vision_mlp(config(30))
    assert changes.vision_config.intermediate_size == 32
    padded = {name: pad_tensor(PREFIX + name, tensor, changes) for name, tensor in narrow.items()}
    assert padded["up_proj.weight"].shape == (32, 8)
    assert padded["down_proj.weight"].shape == (8, 32)

    def mlp(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
        gate = torch.nn.functional.silu(x @ weights["gate_proj.weight"].T + weights["gate_proj.bias"])
        up = x @ weights["up_proj.weight"].T + weights["up_proj.bias"]
        return (gate * up) @ weights["down_proj.weight"].T + weights["down_proj.bias"]

    x = torch.randn(5, 8, generator=generator)
    torch.testing.assert_close(mlp(x, padded), mlp(x, narrow), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["model.layers.3.mlp.gate_proj.weight", "visual.merger.mlp.0.weight", "lm_head.weight"]
)
def test_other_layers_stay(name: str) -> None:
    tensor = torch.ones(30, 30)
    assert pad_tensor(name, tensor, pad_vision_mlp(config(30))) is tensor


@pytest.mark.parametrize("width", [15, 33, 64])
def test_a_checkpoint_of_another_width_than_its_config_says_stays_for_vllm_to_refuse(width: int) -> None:
    tensor = torch.ones(width, 8)
    assert pad_tensor(PREFIX + "up_proj.weight", tensor, pad_vision_mlp(config(30))) is tensor


def test_other_models_and_quantised_ones_stay() -> None:
    assert pad_vision_mlp(config(30, quantization_config={"quant_method": "awq"})).vision_config.intermediate_size == 30
    other = config(30)
    other.model_type = "llava"
    assert pad_vision_mlp(other).vision_config.intermediate_size == 30
