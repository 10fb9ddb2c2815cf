"""Computes `WeightHash` on a GPU, with one Triton kernel that reads each value once. `weight_hash` calls it.

With operations of torch the hash takes fourteen kernels over eight bytes per value, and is the longest part of a weight
swap (benchmarks/LOG.md).
"""

import torch
import triton
import triton.language as tl

from ray_jobs.engine.vllm_plugin import splitmix

ODD, MIX = tl.constexpr(splitmix.ODD), tl.constexpr(splitmix.MIX)
BLOCK = 4096  # values that one program of the kernel hashes


def add_triton(values: torch.Tensor, sums: torch.Tensor) -> None:
    """Add the hash of the values to `sums` (int64: the sum, and the count of values that are not 0).

    The values have one dimension and a floating-point type of 16 bits or more.
    """
    half = values.dtype == torch.bfloat16  # the upper half of a float32
    if count := values.numel():
        bits_or_values = values.view(torch.int16) if half else values
        _add_kernel[triton.cdiv(count, BLOCK),](bits_or_values, sums, count, half, BLOCK)


@triton.jit(do_not_specialize=["count"])  # type: ignore[untyped-decorator]
def _add_kernel(values, sums, count, half: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    value = tl.load(values + index, mask=index < count, other=0)  # 0 adds nothing
    if half:
        bits = (value.to(tl.int32) << 16).to(tl.int64)
    else:
        bits = value.to(tl.float32).to(tl.int32, bitcast=True).to(tl.int64)
    mixed = bits * ODD
    mixed = (mixed ^ (mixed >> 29)) * MIX
    tl.atomic_add(sums, tl.sum(mixed ^ (mixed >> 32)), sem="relaxed")
    tl.atomic_add(sums + 1, tl.sum((bits != 0).to(tl.int64)), sem="relaxed")
