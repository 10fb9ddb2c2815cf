"""Accounts for a model that is spread over several processes (ranks): which part each rank has, and whether all agree.

vLLM's worker calls `shards_of` in each rank. The actor calls `reconcile_ranks`.
"""

from collections.abc import Iterable
from typing import Any


def shards_of(module: Any, name: str, parameter: Any, ranks: int) -> Iterable[tuple[int, Any]]:
    """The parts of a parameter on this rank, each with the number of ranks that have the same values.

    The number is 1 if only this rank has them. A layer of an unknown kind counts as whole on each rank. If it is not,
    `reconcile_ranks` raises.
    """
    if ranks == 1:
        return [(1, parameter)]
    from vllm.model_executor.layers.linear import ColumnParallelLinear, QKVParallelLinear, RowParallelLinear
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    by_rows = isinstance(module, RowParallelLinear) and name != "bias"
    if not (by_rows or isinstance(module, ColumnParallelLinear | VocabParallelEmbedding)) or module.tp_size != ranks:
        return [(ranks, parameter)]
    # if there are fewer key and value heads than ranks, several ranks have the same head
    if isinstance(module, QKVParallelLinear):
        same, keys = module.num_kv_head_replicas, module.num_kv_heads
        heads = [module.num_heads * module.head_size, keys * module.head_size, keys * module.v_head_size]
        if sum(heads) == parameter.shape[0]:  # else the parameter is packed for a kernel
            return zip((1, same, same), parameter.split(heads), strict=True)
    return [(1, parameter)]


def to_signed(value: int) -> int:
    """The value modulo 2^64, as a signed 64-bit number."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def reconcile_ranks(ranks: list[dict[str, Any]]) -> dict[str, int]:
    """Hash and count of the values that the ranks have read and hold. Values on several ranks count once.

    Raises ValueError if the ranks have not read the same values, or if copies of the same values differ.
    """
    held_sum, values_held, first = 0, 0, ranks[0]
    for number, rank in enumerate(ranks):
        if (rank["read"], rank["held"].keys()) != (first["read"], first["held"].keys()):
            raise ValueError(f"rank {number} has read other values than rank 0, or holds others")
        for same, values in rank["held"].items():
            like = number - number % same
            if values != ranks[like]["held"][same]:
                raise ValueError(f"rank {number} does not hold what rank {like} holds")
            if number == like:
                held_sum, values_held = to_signed(held_sum + values[0]), values_held + values[1]
    return {"read": first["read"][0], "values_read": first["read"][1], "held": held_sum, "values_held": values_held}
