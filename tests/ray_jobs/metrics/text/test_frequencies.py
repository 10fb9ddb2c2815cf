from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_jobs.metrics.text import frequencies
from ray_jobs.metrics.text.frequencies import Frequencies

NUMBERS = st.lists(st.integers(0, 5) | st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**63, 2**64 - 1]))


@given(st.lists(NUMBERS, min_size=1, max_size=4), st.sampled_from([1, 2, 8, 256]))
def test_a_table_counts_each_number(groups: list[list[int]], ranges: int) -> None:
    expected = Counter(number for group in groups for number in group)
    runs = [frequencies.count_numbers(np.array(group, np.uint64)) for group in groups]
    numbers, counts = frequencies.sum_counts(runs, least=2)
    assert dict(zip(numbers.tolist(), counts.tolist(), strict=True)) == {
        number: count for number, count in expected.items() if count >= 2
    }
    cuts = [*np.searchsorted(numbers, frequencies.compute_range_starts(ranges)).tolist(), len(numbers)]
    cut = [frequencies.decode_counts(frequencies.encode_counts(numbers[low:high], counts[low:high]))
           for low, high in pairwise(cuts)]  # fmt: skip
    table = Frequencies(expected.total(), tuple(cut))
    keys = np.array(sorted({*expected, 1, 2**64 - 2}), np.uint64)
    assert table.of(keys).tolist() == [max(expected[number], 1) for number in keys.tolist()]
    assert table.of(keys[:0]).tolist() == []


def test_ranges_divide_the_numbers_evenly() -> None:
    assert frequencies.compute_range_starts(1).tolist() == [0]
    assert frequencies.compute_range_starts(4).tolist() == [0, 2**62, 2**63, 3 * 2**62]


def test_a_count_that_no_longer_fits_stays_the_largest() -> None:
    most = np.array([2**32 - 1], np.uint32)
    _, counts = frequencies.sum_counts([(np.array([7], np.uint64), most)] * 2)
    assert counts.tolist() == [2**32 - 1]


def test_what_is_in_no_table_occurs_once() -> None:
    assert frequencies.EMPTY.of(np.array([3, 4], np.uint64)).tolist() == [1, 1]


def test_bytes_are_the_numbers_then_their_counts() -> None:
    data = frequencies.encode_counts(np.array([1, 2**63], np.uint64), np.array([2, 3], np.uint32))
    assert data.hex() == "010000000000000000000000000000800200000003000000"
    assert len(data) == 2 * frequencies.ENTRY_BYTES


@pytest.mark.parametrize("data", [b"", b"x" * 11])
def test_too_few_bytes_are_an_empty_table(data: bytes) -> None:
    assert [len(array) for array in frequencies.decode_counts(data)] == [0, 0]
