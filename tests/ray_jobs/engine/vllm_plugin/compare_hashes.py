"""Hashes tensors with the GPU's kernel, in Triton's interpreter on a CPU, and with torch; prints `the same`.

The environment has TRITON_INTERPRET=1. A tensor whose hashes differ is an AssertionError.
"""

import torch

from ray_jobs.engine.vllm_plugin.weight_hash import WeightHash, choose_add
from ray_jobs.engine.vllm_plugin.weight_hash_kernel import add_triton


def require_same_hash(values: torch.Tensor) -> None:
    sums, expected = torch.zeros(2, dtype=torch.int64), WeightHash()
    add_triton(values, sums)
    expected.add(values)
    assert sums.tolist() == [expected.sum, expected.count], values


generator = torch.Generator().manual_seed(1)
for dtype in (torch.bfloat16, torch.float16, torch.float32):
    assert choose_add(torch.device("cpu"), dtype) is add_triton
    for count in (0, 1, 4096, 10_007):
        require_same_hash(torch.randn(count, generator=generator).to(dtype))
bits = torch.arange(-(1 << 15), 1 << 15).to(torch.int16)
require_same_hash(bits.view(torch.bfloat16))
halves = bits.view(torch.float16)
require_same_hash(halves[~halves.isnan()])
print("the same")
