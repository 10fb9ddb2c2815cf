"""Pads the MLPs of Qwen2.5-VL's vision encoder with zeros to a width that GPUs multiply fast. Results do not change.

vLLM calls `pad_vision_mlp` for each config, and the model loader calls `pad_tensor` for each tensor. The MLPs are 3420
wide, which is no multiple of the 16 bytes that a GPU's matrix units read at once. On an H200 the product that begins
with that width takes 3.7 times as long as with 3424 (benchmarks/LOG.md). In down(silu(gate(x)) * up(x)) the added rows
of gate and up, and their biases, are zero. So down adds zero for them.
"""

import re
from typing import TYPE_CHECKING, Any

from ray_jobs.engine.config_overrides import make_runnable

if TYPE_CHECKING:
    import torch

STEP = 16  # elements: 16 bytes of the narrowest type
MLP = re.compile(r"\bvisual\.blocks\.\d+\.mlp\.(gate|up|down)_proj\.(weight|bias)$")


def pad_vision_mlp(config: Any) -> Any:
    """The config with the padded width: vLLM's `hf_overrides` for weights that are loaded through `pad_tensor`."""
    config = make_runnable(config)
    if width := _find_padded_width(config):
        config.vision_config.intermediate_size = width
    return config


def pad_tensor(name: str, tensor: "torch.Tensor", config: Any) -> "torch.Tensor":
    """The checkpoint's tensor as a model with the config of `pad_vision_mlp` has it."""
    if not (width := _find_padded_width(config)) or not (match := MLP.search(name)):
        return tensor
    down, weight = match[1] == "down", match[2] == "weight"
    if down and not weight:
        return tensor
    axis = 1 if down else 0
    missing = width - tensor.shape[axis]
    if not 0 <= missing < STEP:  # the width differs from the config's, so vLLM refuses the tensor
        return tensor
    from torch.nn.functional import pad

    return pad(tensor, (0, missing) if down or not weight else (0, 0, 0, missing))


def _find_padded_width(config: Any) -> int | None:
    if getattr(config, "model_type", None) != "qwen2_5_vl" or getattr(config, "quantization_config", None):
        return None
    return -(-int(config.vision_config.intermediate_size) // STEP) * STEP
