"""Corrects a model's architecture for vLLM if vLLM's code and the installed transformers do not agree.

vLLM calls `make_runnable` with each config that it reads, also in its own processes.
"""

import logging
import re
from functools import lru_cache
from typing import Any

from ray_jobs.engine.parent_death import exit_with_spawner

log = logging.getLogger("assay")

TRANSFORMERS_BACKEND = "TransformersMultiModalForCausalLM"  # runs transformers' own network: slower, and as exact

exit_with_spawner()  # vLLM passes `make_runnable` to each of its processes, and first to the engine's


def make_runnable(config: Any) -> Any:
    """The config, changed in place so that vLLM can run the model: vLLM's `hf_overrides`.

    vLLM's own network is used if it can be imported. vLLM also needs an architecture in the config of the language
    model inside. Some configs (as Qwen3-VL's) have none.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    inside, named = config.get_text_config(), getattr(config, "architectures", None)
    if inside is config or not named:
        return config
    if not inside.architectures and inside.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        inside.architectures = list(named)
    if not any(map(_is_importable, named)):
        config.architectures = [TRANSFORMERS_BACKEND]
    return config


@lru_cache
def _is_importable(architecture: str) -> bool:
    """Whether vLLM can import its own code for the architecture. True if vLLM has no code for it: vLLM then decides."""
    from vllm.model_executor.models.registry import ModelRegistry

    registered = ModelRegistry.models.get(architecture)
    try:
        return registered is None or registered.inspect_model_cls() is not None
    except Exception as error:  # vLLM imports the code in another process, whose error is text
        if not re.search(r"\b(ImportError|ModuleNotFoundError): ", f"{type(error).__name__}: {error}"):
            raise
        last = str(error).strip().splitlines()[-1]
        log.warning(
            "engine: vLLM's own %s cannot be imported (%s); its Transformers backend is used", architecture, last
        )
        return False
