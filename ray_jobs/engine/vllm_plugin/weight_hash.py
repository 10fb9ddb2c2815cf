"""Hashes a model's weights in any order. If the hashes are equal, the model has the values that the files have.

vLLM's worker calls it, in vLLM's process.
"""

import logging
from collections.abc import Callable
from functools import cache

import torch

from ray_jobs.engine.vllm_plugin.splitmix import MIX, ODD
from ray_jobs.engine.vllm_plugin.tensor_parallel import to_signed

log = logging.getLogger("assay")

CHUNK = 1 << 22  # elements hashed at once


class WeightHash:
    """The order-free hash of tensors: `sum` modulo 2^64 (as a signed number), and the `count` of values that are not 0.

    Both stay on the tensors' device until they are read, because each read stops the GPU.
    """

    def __init__(self) -> None:
        self._sums: dict[torch.device, torch.Tensor] = {}
        self.size = 0

    def add(self, tensor: torch.Tensor) -> None:
        values, sums = tensor.detach().reshape(-1), self._on(tensor.device)
        has_kernel = values.is_cuda and values.is_floating_point() and values.element_size() > 1
        (choose_add(values.device, values.dtype) if has_kernel else add_torch)(values, sums)
        self.size += values.numel()

    def merge(self, other: "WeightHash") -> None:
        for device, sums in other._sums.items():
            self._on(device).add_(sums)
        self.size += other.size

    @property
    def sum(self) -> int:
        return to_signed(sum(int(sums[0]) for sums in self._sums.values()))

    @property
    def count(self) -> int:
        return sum(int(sums[1]) for sums in self._sums.values())

    def _on(self, device: torch.device) -> torch.Tensor:
        if device not in self._sums:
            self._sums[device] = torch.zeros(2, dtype=torch.int64, device=device)
        return self._sums[device]


@cache
def choose_add(device: torch.device, dtype: torch.dtype) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """The Triton kernel, if it hashes a sample of this type as `add_torch` does; else `add_torch`, which is slower."""
    sample = torch.arange(-2048, 2051, device=device).to(dtype) / 7
    sums, expected = torch.zeros((2, 2), dtype=torch.int64, device=device)
    try:
        from ray_jobs.engine.vllm_plugin.weight_hash_kernel import add_triton  # needs Triton, which comes with a GPU

        add_triton(sample, sums)
        add_torch(sample, expected)
        if torch.equal(sums, expected):
            return add_triton
        reason = "it makes another hash"
    except Exception as error:  # a compiler can raise any error
        reason = " ".join(str(error).split())[-300:]
    log.warning("engine: weights are hashed by torch, not by the kernel for it: %s", reason)
    return add_torch


def add_torch(values: torch.Tensor, sums: torch.Tensor) -> None:
    """Add the hash of the values to `sums`, as `add_triton` does, by operations of torch."""
    for piece in torch.split(values, CHUNK):
        bits = piece.float().view(torch.int32).to(torch.int64)
        mixed = bits * ODD
        mixed = (mixed ^ (mixed >> 29)) * MIX
        sums += torch.stack(((mixed ^ (mixed >> 32)).sum(), (bits != 0).sum()))  # int64 is modulo 2^64
