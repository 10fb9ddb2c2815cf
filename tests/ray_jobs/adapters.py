"""Writes LoRA adapters as PEFT does, and quantised checkpoints as compressed-tensors does."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from stage_jobs import DEMO

# What PEFT 0.19 writes for a plain LoRA.
CONFIG: dict[str, Any] = {
    "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None, "auto_mapping": None,
    "base_model_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct", "bias": "none", "corda_config": None,
    "ensure_weight_tying": False, "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False,
    "inference_mode": True, "init_lora_weights": True, "layer_replication": None, "layers_pattern": None,
    "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 16, "lora_bias": False, "lora_dropout": 0.05,
    "lora_ga_config": None, "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None,
    "peft_type": "LORA", "peft_version": "0.19.1", "qalora_group_size": 16, "r": 4, "rank_pattern": {},
    "revision": None, "target_modules": ["q_proj", "v_proj"], "target_parameters": None, "task_type": "CAUSAL_LM",
    "trainable_token_indices": None, "use_bdlora": None, "use_dora": False, "use_qalora": False, "use_rslora": False,
}  # fmt: skip

BASE = DEMO / "checkpoints" / "step-0300"
MODULE = "model.language_model.layers.0.self_attn.q_proj"
Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]  # A and B by the path of a module


def write_adapter(folder: Path, pairs: Pairs, others: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    """Write an adapter with these pairs, these other tensors, and some keys of its config replaced. Returns its
    folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(others or {})
    for module, (down, up) in pairs.items():
        tensors |= {f"base_model.model.{module}.lora_A.weight": down, f"base_model.model.{module}.lora_B.weight": up}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config, indent=2))
    return folder


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for shard in folder.glob("*.safetensors") for name, tensor in load_file(shard).items()}


def make_random_pair(shape: tuple[int, ...], rank: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    rows, columns = shape
    return torch.randn(rank, columns, generator=random), torch.randn(rows, rank, generator=random)


def write_quantised(source: Path, target: Path) -> Path:
    """A copy of a demo checkpoint with the language model's linear layers in int8, the activations too (W8A8)."""
    shutil.copytree(source, target)
    index: dict[str, str] = {}
    for shard in target.glob("*.safetensors"):
        tensors = load_file(shard)
        for name, weight in list(tensors.items()):
            if name.startswith("model.layers.") and name.endswith("_proj.weight"):
                scale = weight.float().abs().amax(1, keepdim=True) / 127
                tensors |= {name: (weight.float() / scale).round().to(torch.int8), f"{name}_scale": scale}
        save_file(tensors, shard, {"format": "pt"})
        index |= dict.fromkeys(tensors, shard.name)
    (target / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    numbers = {"num_bits": 8, "type": "int", "symmetric": True}
    scheme = {
        "targets": ["Linear"],
        "weights": numbers | {"strategy": "channel", "dynamic": False},
        "input_activations": numbers | {"strategy": "token", "dynamic": True},
    }
    settings: dict[str, Any] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
    }
    settings |= {"config_groups": {"group_0": scheme}, "ignore": ["lm_head", "re:.*visual.*"]}
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    return target


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_adapter_files(tmp_path: Path, seed: int = 0, **config: Any) -> dict[str, bytes]:
    return read_files(write_adapter(tmp_path / f"made-{seed}", {MODULE: make_random_pair((96, 96), 4, seed)}, **config))
