"""The hash of `tally` on a GPU, in one kernel that reads each value once.

Of operations of torch it is fourteen kernels over eight bytes a value, and a swap's longest part (benchmarks/LOG.md).
"""

import torch
import triton
import triton.language as tl

from ray_jobs.engine import tally

ODD, MIX = tl.constexpr(tally.ODD), tl.constexpr(tally.MIX)
BLOCK = 4096  # values of one program


def add(values: torch.Tensor, sums: torch.Tensor) -> None:
    """Add the hash of the values, of 16 or 32 bits in one dimension, to `sums`: int64, the sum and the number not 0."""
    if count := values.numel():
        _add[triton.cdiv(count, BLOCK),](values, sums, count, BLOCK)


@triton.jit  # type: ignore[untyped-decorator]
def _add(values, sums, count, block: tl.constexpr):  # type: ignore[no-untyped-def]  # Triton reads them itself
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    value = tl.load(values + at, mask=at < count, other=0.0).to(tl.float32)  # 0 adds nothing
    bits = value.to(tl.int32, bitcast=True).to(tl.int64)
    mixed = bits * ODD
    mixed = (mixed ^ (mixed >> 29)) * MIX
    tl.atomic_add(sums, tl.sum(mixed ^ (mixed >> 32)))
    tl.atomic_add(sums + 1, tl.sum((bits != 0).to(tl.int64)))
