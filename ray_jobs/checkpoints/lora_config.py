"""The config of a LoRA adapter as PEFT saves one: what of it can be merged into its base model, and how much is added.

Merged, a weight W is W + s B A (Hu et al. 2021). Used by whoever looks at a checkpoint, so it opens no weights.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

from ray_jobs.checkpoints.module_patterns import MOST, matches, refuse
from ray_jobs.inputs.names import printable

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Keys that tell a plain LoRA, or nothing of what is added to a weight. Whatever else is set changes the computation
# (DoRA, aLoRA, QALoRA, layers replicated, ...), now or in a PEFT to come.
PLAIN = {
    *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "bias", "init_lora_weights"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
    *("base_model_name_or_path", "revision", "task_type", "inference_mode", "auto_mapping", "peft_version"),
    *("lora_dropout", "loftq_config", "eva_config", "runtime_config", "megatron_core", "qalora_group_size"),
    "ensure_weight_tying",
}
NUMBERS = {"r": "rank_pattern", "lora_alpha": "alpha_pattern"}  # and what some modules have instead, by their path
LARGEST = 2**31  # rank, alpha
UNTOUCHED = (True, False, "gaussian", "eva", "orthogonal")  # ways to begin that leave the base's weights alone


# Weights that were trained as a whole beside the adapter, as LLaVA, Qwen-VL-Series-Finetune and ms-swift write them.
FURTHER_WEIGHTS = re.compile(
    r"non_lora_.*\.(bin|pt|safetensors)|mm_projector.*\.(bin|pt)|(?!value_head).*\.safetensors"
)


def find_further_weights(names: Iterable[str]) -> str | None:
    """A file of weights that belong to the trained model and are not in the adapter; None where there is none."""
    return next((name for name in sorted(names) if name != WEIGHTS and FURTHER_WEIGHTS.fullmatch(name)), None)


def unsupported_reason(config: dict[str, Any]) -> str | None:
    """Why an adapter with this config cannot be merged and what to do, None when nothing in it stands against that."""
    if (kind := config.get("peft_type")) != "LORA":
        return f"an adapter of type {printable(str(kind), 60)}, not LORA; merge it and save the whole model"
    if (bias := config.get("bias", "none")) != "none":
        return f"its adapter trains biases (bias: {printable(str(bias), 60)}); merge it and save the whole model"
    if (start := config.get("init_lora_weights", True)) not in UNTOUCHED:
        return (
            f"its adapter began by changing the base (init_lora_weights: {printable(str(start), 60)}); save it as one "
            "of the original base (PEFT's path_initial_model_for_weight_conversion)"
        )
    if other := sorted(key for key, value in config.items() if value and key not in PLAIN):
        return f"its adapter is not a plain LoRA ({printable(other[0], 60)} is set); merge it and save the whole model"
    if not all(isinstance(_pattern(config, pattern_name), dict) for pattern_name in NUMBERS.values()):
        return "its adapter's rank_pattern or alpha_pattern is not an object; save it again"
    if any(len(_pattern(config, pattern_name)) > MOST for pattern_name in NUMBERS.values()):
        return f"its adapter's rank_pattern or alpha_pattern has more than {MOST} entries; merge it and save it whole"
    if refused := next(
        (why for pattern_name in NUMBERS.values() for why in map(refuse, _pattern(config, pattern_name)) if why), None
    ):
        return f"its adapter's rank_pattern or alpha_pattern {refused}; name the modules by their paths"
    ranks, alphas = (
        [config.get(setting), *_pattern(config, pattern_name).values()] for setting, pattern_name in NUMBERS.items()
    )
    if not all(type(rank) is int and 0 < rank <= LARGEST for rank in ranks):
        return "its adapter's r, or what rank_pattern has, is not above zero; save it again"
    if not all(type(alpha) in (int, float) and abs(alpha) <= LARGEST for alpha in alphas):
        return "its adapter's lora_alpha, or what alpha_pattern has, is not a number; save it again"
    return None


def scale(config: dict[str, Any], module: str, rank: int) -> float:
    """s for the module at this path: alpha / r, or alpha / sqrt(r) where it is rank-stabilised (Kalajdzievski 2023).

    Raises ValueError when the config gives the module another rank.
    """
    wanted, alpha = (
        _for_module(_pattern(config, pattern_name), module, config[setting])
        for setting, pattern_name in NUMBERS.items()
    )
    if rank != wanted:
        raise ValueError(f"{module} has rank {rank}, and {CONFIG} gives it {wanted}; save the adapter again")
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def _pattern(config: dict[str, Any], of: str) -> Any:
    return config.get(of) or {}


def _for_module(pattern: dict[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that the end of the module's path matches, as PEFT looks it up."""
    return next((value for key, value in pattern.items() if matches(key, module)), default)
