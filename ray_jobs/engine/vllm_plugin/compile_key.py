"""Lets vLLM's compiled code serve every checkpoint of one architecture, because the code does not contain weights.

vLLM names its compiled code by a hash of its config, and that hash contains the checkpoint's path. So vLLM would
compile each checkpoint of a training run again. The actor calls this module, and vLLM's own processes import it.
"""

import copy
from typing import Any

from vllm.config import ModelConfig

import ray_jobs.engine.vllm_plugin.meeting_file  # noqa: F401  so that vLLM's processes import it early enough


class AnyCheckpointConfig(ModelConfig):  # type: ignore[misc]  # vLLM's types are not read
    """vLLM's config of a model. Its hash covers what shapes compiled code, and not the checkpoint's path."""

    def compute_hash(self) -> str:
        without_path = copy.copy(self)
        without_path.model = ""
        return str(ModelConfig.compute_hash(without_path))


def compile_for_any_checkpoint(config: Any) -> None:
    """Have vLLM's config name compiled code without the checkpoint's path. The config is changed in place."""
    config.model_config.__class__ = AnyCheckpointConfig
