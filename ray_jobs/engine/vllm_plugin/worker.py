"""Loads weights into a running vLLM and hashes them, to prove which weights vLLM has. vLLM's worker inherits from it.

vLLM only warns if a reload leaves a layer as it was. So the worker hashes the values that it reads and the values in
the model's parameters: a sum over all elements of a 64-bit function of the value. The sum does not depend on how vLLM
fuses, splits, reshapes or pads parameters (with zeros); one element that is stale, missing or doubled changes it.
Layers that vLLM packs for its kernels or quantises are hashed just before vLLM does that.

If a model is spread over several processes (ranks), some values are on one rank and others on several. Each rank keeps
one hash per number of ranks that hold the same values, and `reconcile_ranks` compares them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

import ray_jobs.engine.vllm_plugin.model_loader  # noqa: F401  registers a warm engine's `load_format`
from ray_jobs.engine.parent_death import exit_with_spawner
from ray_jobs.engine.vllm_plugin.tensor_parallel import shards_of
from ray_jobs.engine.vllm_plugin.weight_hash import WeightHash

exit_with_spawner()  # vLLM imports this module in the process that uses the GPU, before it takes the GPU


class WorkerExtension:
    """Methods that vLLM's worker gets by `worker_extension_cls`; called by name with `collective_rpc`."""

    model_runner: Any
    model_config: Any
    parallel_config: Any

    def assay_load(self, path: str) -> dict[str, Any]:
        """Load the directory's weights into the model. Returns hash and count of the values `read` and `held`.

        `held` groups them by the number of ranks that hold the same values.
        """
        from vllm.model_executor.model_loader import get_model_loader

        runner = self.model_runner
        model, model_config = runner.get_model(), runner.model_config
        model_config.model, model_config.revision = path, None
        loader: Any = get_model_loader(runner.load_config)
        read_hash, held_hashes = WeightHash(), HashesByReplication(WeightHash)

        def hash_values() -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in loader.get_all_weights(model_config, model):
                on_device = tensor.to(runner.device)  # hashing 3.8 billion values takes 20 s on a CPU, and 1 s here
                read_hash.add(on_device.to(model_config.dtype) if tensor.is_floating_point() else on_device)
                yield name, on_device

        with hash_loads(model, held_hashes, self.parallel_config.tensor_parallel_size):
            runner.reload_weights(weights_iterator=hash_values())
        return {
            "read": (read_hash.sum, read_hash.count),
            "held": {same: (values.sum, values.count) for same, values in held_hashes.items()},
        }


# by the number of ranks that hold the same values
HashesByReplication = defaultdict[int, WeightHash]


@contextmanager
def hash_loads(model: torch.nn.Module, hashes_by_count: HashesByReplication, ranks: int = 1) -> Iterator[None]:
    """A context: load weights within it. Then `hashes_by_count` has the hash of each parameter once, tied ones too."""
    tied, before = _find_tied_parameters(model), dict[int, tuple[_Form, HashesByReplication]]()

    def hash_module(module: torch.nn.Module) -> HashesByReplication:
        module_hashes = HashesByReplication(WeightHash)
        for name, parameter in module.named_parameters(recurse=False):
            if (id(module), name) not in tied:
                for count, values in shards_of(module, name, parameter, ranks):
                    module_hashes[count].add(values)
        return module_hashes

    def hash_before(process: Callable[[torch.nn.Module], None]) -> Callable[[torch.nn.Module], None]:
        def hash_and_process(layer: torch.nn.Module) -> None:
            before[id(layer)] = _find_form(layer), hash_module(layer)
            process(layer)

        return hash_and_process

    methods = {id(method): method for method in map(_find_quantize_method, model.modules()) if method}.values()
    for method in methods:
        method.process_weights_after_loading = hash_before(method.process_weights_after_loading)
    try:
        yield
    finally:
        for method in methods:
            del method.process_weights_after_loading
    for module in model.modules():
        form, loaded = before.get(id(module), (None, None))
        # If vLLM has packed or quantised the layer, the hash from before that counts.
        processed = loaded and form != _find_form(module)
        for count, values in (loaded if loaded and processed else hash_module(module)).items():
            hashes_by_count[count].merge(values)


_Form = tuple[int, frozenset[torch.dtype]]


def _find_form(module: torch.nn.Module) -> _Form:
    """The number of values in the module's own parameters, and their types."""
    parameters = list(module.parameters(recurse=False))
    return sum(parameter.numel() for parameter in parameters), frozenset(parameter.dtype for parameter in parameters)


def _find_quantize_method(module: torch.nn.Module) -> Any:
    """The method that processes the module's weights after loading; None for most modules."""
    from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase

    method = getattr(module, "quant_method", None)
    return method if isinstance(method, QuantizeMethodBase) else None


def _find_tied_parameters(model: torch.nn.Module) -> set[tuple[int, str]]:
    """Module id and name of every parameter that an earlier module has too."""
    seen, tied = set[int](), set[tuple[int, str]]()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                tied.add((id(module), name))
            seen.add(id(parameter))
    return tied
