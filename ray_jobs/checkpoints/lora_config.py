"""Read the config of a LoRA adapter of PEFT: can the adapter be merged into its base model, and with which scale.

A merged weight is W + s B A (Hu et al. 2021). `inspect` calls this module for every adapter in both planes, so the
module opens no weights.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

from ray_jobs.checkpoints.module_patterns import MOST, find_fault, matches
from ray_jobs.inputs.names import printable

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Keys of a plain LoRA, and keys that do not change the sum added to a weight. Any other key that is set changes the
# computation (DoRA, aLoRA, QALoRA, replicated layers, ...), or may change it in a future PEFT.
PLAIN = {
    *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "bias", "init_lora_weights"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
    *("base_model_name_or_path", "revision", "task_type", "inference_mode", "auto_mapping", "peft_version"),
    *("lora_dropout", "loftq_config", "eva_config", "runtime_config", "megatron_core", "qalora_group_size"),
    "ensure_weight_tying",
}
NUMBERS = {"r": "rank_pattern", "lora_alpha": "alpha_pattern"}  # the field that overrides each number for some modules
LARGEST = 2**31  # bound on rank and alpha
UNTOUCHED = (True, False, "gaussian", "eva", "orthogonal")  # initialisations that do not change the base's weights


# Fully trained weights beside the adapter, as LLaVA, Qwen-VL-Series-Finetune and ms-swift write them.
FURTHER_WEIGHTS = re.compile(
    r"non_lora_.*\.(bin|pt|safetensors)|mm_projector.*\.(bin|pt)|(?!value_head).*\.safetensors"
)


def find_further_weights(names: Iterable[str]) -> str | None:
    """Return the name of a file with trained weights that are not in the adapter, or None."""
    return next((name for name in sorted(names) if name != WEIGHTS and FURTHER_WEIGHTS.fullmatch(name)), None)


def explain_unsupported(config: dict[str, Any]) -> str | None:
    """Return why an adapter with this config cannot be merged and what to do, or None if it can be merged."""
    if (kind := config.get("peft_type")) != "LORA":
        return f"an adapter of type {printable(str(kind), 60)}, not LORA; merge it and save the whole model"
    if (bias := config.get("bias", "none")) != "none":
        return f"its adapter trains biases (bias: {printable(str(bias), 60)}); merge it and save the whole model"
    if (start := config.get("init_lora_weights", True)) not in UNTOUCHED:
        return (
            f"its adapter began by changing the base (init_lora_weights: {printable(str(start), 60)}); save it as one "
            "of the original base (PEFT's path_initial_model_for_weight_conversion)"
        )
    if foreign_keys := sorted(key for key, value in config.items() if value and key not in PLAIN):
        return (
            f"its adapter is not a plain LoRA ({printable(foreign_keys[0], 60)} is set); merge it and save the whole "
            "model"
        )
    if not all(isinstance(_read_pattern(config, pattern_name), dict) for pattern_name in NUMBERS.values()):
        return "its adapter's rank_pattern or alpha_pattern is not an object; save it again"
    if any(len(_read_pattern(config, pattern_name)) > MOST for pattern_name in NUMBERS.values()):
        return f"its adapter's rank_pattern or alpha_pattern has more than {MOST} entries; merge it and save it whole"
    if fault := next(
        (
            fault
            for pattern_name in NUMBERS.values()
            for fault in map(find_fault, _read_pattern(config, pattern_name))
            if fault
        ),
        None,
    ):
        return f"its adapter's rank_pattern or alpha_pattern {fault}; name the modules by their paths"
    ranks, alphas = (
        [config.get(setting), *_read_pattern(config, pattern_name).values()]
        for setting, pattern_name in NUMBERS.items()
    )
    if not all(type(rank) is int and 0 < rank <= LARGEST for rank in ranks):
        return "its adapter's r, or what rank_pattern has, is not above zero; save it again"
    if not all(type(alpha) in (int, float) and abs(alpha) <= LARGEST for alpha in alphas):
        return "its adapter's lora_alpha, or what alpha_pattern has, is not a number; save it again"
    return None


def compute_scale(config: dict[str, Any], module: str, rank: int) -> float:
    """Return s for the module at this path: alpha / r, or alpha / sqrt(r) if rank-stabilised (Kalajdzievski 2023).

    Raises ValueError if the config gives the module another rank.
    """
    configured_rank, alpha = (
        _find_value(_read_pattern(config, pattern_name), module, config[setting])
        for setting, pattern_name in NUMBERS.items()
    )
    if rank != configured_rank:
        raise ValueError(f"{module} has rank {rank}, and {CONFIG} gives it {configured_rank}; save the adapter again")
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def _read_pattern(config: dict[str, Any], pattern_name: str) -> Any:
    return config.get(pattern_name) or {}


def _find_value(pattern: dict[str, Any], module: str, default: Any) -> Any:
    """Return the value of the first pattern that matches the end of the module's path, as PEFT does."""
    return next((value for key, value in pattern.items() if matches(key, module)), default)
