"""Combining what several ranks report of a load."""

from typing import Any

import pytest

from ray_jobs.engine.vllm_plugin.tensor_parallel import reconcile_ranks

READ = (1000, 9)
FOUR: list[dict[str, Any]] = [  # a number alone in each, one in two of four each (keys and values), one in all of them
    {"read": READ, "held": {1: (100, 1), 2: (50, 1), 4: (300, 2)}},
    {"read": READ, "held": {1: (200, 1), 2: (50, 1), 4: (300, 2)}},
    {"read": READ, "held": {1: (150, 1), 2: (150, 1), 4: (300, 2)}},
    {"read": READ, "held": {1: (50, 2), 2: (150, 1), 4: (300, 2)}},
]


def with_rank(number: int, **new: Any) -> list[dict[str, Any]]:
    return [rank | new if index == number else rank for index, rank in enumerate(FOUR)]


def test_what_several_hold_counts_once() -> None:
    assert reconcile_ranks(FOUR) == {"read": 1000, "values_read": 9, "held": 1000, "values_held": 9}
    assert reconcile_ranks([{"read": (5, 1), "held": {1: (5, 1)}}]) == dict.fromkeys(
        ("read", "held"), 5
    ) | dict.fromkeys(("values_read", "values_held"), 1)


def test_sums_stay_signed_64_bit_numbers() -> None:
    large = {"read": (0, 2), "held": {1: (1 << 62, 1)}}
    assert reconcile_ranks([large, large])["held"] == -(1 << 63)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (with_rank(3, read=(1001, 9)), "rank 3 has read other values than rank 0"),
        (with_rank(2, held={1: (150, 1), 2: (150, 1)}), "rank 2 has read other values than rank 0, or holds others"),
        (with_rank(3, held=FOUR[3]["held"] | {4: (301, 2)}), "rank 3 does not hold what rank 0 holds"),
        (with_rank(1, held=FOUR[1]["held"] | {4: (300, 1)}), "rank 1 does not hold what rank 0 holds"),
        (with_rank(3, held=FOUR[3]["held"] | {2: (50, 1)}), "rank 3 does not hold what rank 2 holds"),
    ],
)
def test_ranks_that_do_not_agree(ranks: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconcile_ranks(ranks)


def test_a_tensor_of_one_rank_is_compared_with_what_was_read() -> None:
    sums = reconcile_ranks(with_rank(3, held=FOUR[3]["held"] | {1: (60, 2)}))
    assert sums["held"] != sums["read"]
