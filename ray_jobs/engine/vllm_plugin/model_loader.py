"""Loads a checkpoint into a warm engine, at its start and at every weight swap. vLLM calls it in its own process."""

import re
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

from ray_jobs.engine.settings import FILE_FORMATS, WARM_ARGUMENTS
from ray_jobs.engine.vision_padding import pad_tensor
from ray_jobs.engine.vllm_plugin.pinned_reader import iter_tensors

# torch's words for tensors that do not fit
SHAPE_ERROR = re.compile(r"size of tensor|shape|size mismatch|exceeds dimension size")


@register_model_loader(WARM_ARGUMENTS["load_format"])
class CheckpointLoader(DefaultModelLoader):  # type: ignore[misc]
    """vLLM's loader, with `pinned_reader` for safetensors on a GPU and `pad_tensor` for Qwen2.5-VL's vision encoder."""

    def __init__(self, load_config: Any) -> None:
        super().__init__(replace(load_config, load_format=FILE_FORMATS["load_format"]))

    last: tuple[str, list[int]] | None = None  # name and shape of the last tensor that the model got

    def load_weights(self, model: Any, model_config: Any) -> None:
        """Load the checkpoint's tensors. Raises ValueError, which names the tensor, if one does not fit the model.

        vLLM's own layers only assert that shapes are equal, and do not name the tensor.
        """
        try:
            super().load_weights(model, model_config)
        except (AssertionError, RuntimeError) as error:
            if self.last is None or not (isinstance(error, AssertionError) or SHAPE_ERROR.search(str(error))):
                raise
            name, shape = self.last
            raise ValueError(f"tensor {name} of shape {shape} does not fit the model") from error

    def get_all_weights(self, model_config: Any, model: Any) -> Generator[tuple[str, torch.Tensor]]:
        """The checkpoint's tensors with their names, padded as the model has them."""
        for name, tensor in super().get_all_weights(model_config, model):
            self.last = name, list(tensor.shape)
            yield name, pad_tensor(name, tensor, model_config.hf_config)

    def _get_weights_iterator(self, source: Any) -> Generator[tuple[str, torch.Tensor]]:
        if torch.cuda.is_available():
            place, revision, patterns = source.model_or_path, source.revision, source.allow_patterns_overrides
            _, files, safe = self._prepare_weights(place, source.subfolder, revision, source.fall_back_to_pt, patterns)
            if safe:
                device = torch.device("cuda", torch.cuda.current_device())
                return ((source.prefix + name, tensor) for name, tensor in iter_tensors(sorted(files), device))
        tensors: Generator[tuple[str, torch.Tensor]] = super()._get_weights_iterator(source)
        return tensors
