"""Compiles the kernel that hashes weights for an H100 or H200; prints for each type whether machine code came of it."""

import triton
from triton.backends.compiler import GPUTarget

from ray_jobs.engine.vllm_plugin.weight_hash_kernel import _add_kernel

HOPPER = GPUTarget("cuda", 90, 32)

for dtype, half in (("i16", True), ("fp16", False), ("fp32", False)):
    types = {"values": f"*{dtype}", "sums": "*i64", "count": "i32", "half": "constexpr", "block": "constexpr"}
    source = triton.compiler.ASTSource(fn=_add_kernel, signature=types, constexprs={"half": half, "block": 4096})
    print(dtype, "cubin" in triton.compile(source, target=HOPPER).asm)
