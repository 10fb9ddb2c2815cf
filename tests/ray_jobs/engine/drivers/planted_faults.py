"""Plant faults between a checkpoint's file and vLLM's loader. Print for each fault whether the loaded weights were
complete.

python planted_faults.py CHECKPOINT CHECKPOINT      vLLM has the first, and the second is loaded into it
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}

import torch
from vllm import LLM
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from ray_jobs.engine.vllm_plugin.tensor_parallel import reconcile_ranks

Weights = Iterable[tuple[str, torch.Tensor]]

first, second = sys.argv[1:]
llm = LLM(
    first,
    worker_extension_cls="ray_jobs.engine.vllm_plugin.worker.WorkerExtension",
    dtype="float32",
    max_model_len=512,
    max_num_seqs=4,
    enforce_eager=True,
    distributed_executor_backend="uni",
    limit_mm_per_prompt={"image": 1},
)
reload = GPUModelRunner.reload_weights


def drop_tensor(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in weights:
        if "layers.1.mlp.down_proj" not in name:
            yield name, tensor


def change_tensor(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in weights:
        yield name, tensor * 1.01 if "layers.2.self_attn.k_proj.weight" in name else tensor


def zero_tensor(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in weights:
        yield name, torch.zeros_like(tensor) if "merger" in name else tensor


results: dict[str, bool] = {}
for fault in (None, drop_tensor, change_tensor, zero_tensor, None):

    def reload_with_fault(self: Any, weights_iterator: Weights, fault: Any = fault) -> Any:
        return reload(self, weights_iterator=fault(weights_iterator) if fault else weights_iterator)

    GPUModelRunner.reload_weights = reload_with_fault
    sums = reconcile_ranks(llm.collective_rpc("assay_load", args=(second,)))
    name = fault.__name__ if fault else "good"
    is_complete = (sums["read"], sums["values_read"]) == (sums["held"], sums["values_held"])
    results[name] = results.get(name, True) and is_complete
    assert sums["values_read"] > 700_000
print(json.dumps(results))
