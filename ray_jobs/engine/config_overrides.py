"""What vLLM must be told of a model's architecture where its own code and the installed transformers do not agree."""

import logging
import re
from functools import lru_cache
from typing import Any

from ray_jobs.engine.parent_death import exit_with_spawner

log = logging.getLogger("assay")

TRANSFORMERS_BACKEND = "TransformersMultiModalForCausalLM"  # vLLM around transformers' own network, slower and as exact

exit_with_spawner()  # vLLM hands `runnable` to each of its processes, the engine's first


def make_runnable(config: Any) -> Any:
    """The model's config as vLLM can run it: vLLM's `hf_overrides`, called with each config that it reads.

    vLLM's own network is used wherever it can be imported. It asks the config of the language model inside for an
    architecture, too, which some (as Qwen3-VL's) do not have.
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
    """Whether vLLM's own code for the architecture can be imported, or there is none and vLLM has its own answer."""
    from vllm.model_executor.models.registry import ModelRegistry

    own = ModelRegistry.models.get(architecture)
    try:
        return own is None or own.inspect_model_cls() is not None
    except Exception as error:  # vLLM imports it in a process of its own, whose error is text
        if not re.search(r"\b(ImportError|ModuleNotFoundError): ", f"{type(error).__name__}: {error}"):
            raise
        last = str(error).strip().splitlines()[-1]
        log.warning(
            "engine: vLLM's own %s cannot be imported (%s); its Transformers backend is used", architecture, last
        )
        return False
