"""Store how often each 64-bit number occurs, in sorted tables that are cut into ranges.

A table has only the numbers that occur twice or more. A file holds the numbers in ascending order (uint64), then their
counts (uint32), so that a process can map the file into memory.
"""

from dataclasses import dataclass

import numpy as np

ENTRY_BYTES = 8 + 4  # a number and its count


@dataclass(frozen=True)
class Frequencies:
    """`total` is the number of documents or occurrences counted. Ranges divide the numbers evenly by upper bits."""

    total: int
    ranges: tuple[tuple[np.ndarray, np.ndarray], ...]

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """How often each number occurs (float64); 1 for a number that the table lacks. `numbers` must be ascending."""
        occurrences = np.ones(len(numbers))
        edges = np.searchsorted(numbers, compute_range_starts(len(self.ranges)))
        for (distinct, counts), low, high in zip(self.ranges, edges, [*edges[1:], len(numbers)], strict=True):
            if len(distinct) and low < high:
                position = np.minimum(np.searchsorted(distinct, numbers[low:high]), len(distinct) - 1)
                occurrences[low:high] = np.where(distinct[position] == numbers[low:high], counts[position], 1)
        return occurrences


EMPTY = Frequencies(0, ((np.empty(0, np.uint64), np.empty(0, np.uint32)),))


def compute_range_starts(ranges: int) -> np.ndarray:
    """The smallest number of each range. `ranges` must be a power of two."""
    upper = ranges.bit_length() - 1
    return np.array([index << (64 - upper) for index in range(ranges)], np.uint64)


def count_numbers(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct numbers in ascending order and how often each occurs."""
    distinct, counts = np.unique(numbers, return_counts=True)
    return distinct, counts.astype(np.uint32)


def sum_counts(runs: list[tuple[np.ndarray, np.ndarray]], least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the tables, without the numbers that occur less than `least` times in total."""
    numbers = np.concatenate([distinct for distinct, _ in runs])
    counts = np.concatenate([count for _, count in runs])
    order = np.argsort(numbers)
    numbers, counts = numbers[order], counts[order]
    if not len(numbers):
        return numbers, counts
    starts = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
    sums = np.add.reduceat(counts, starts, dtype=np.uint64)
    is_frequent = sums >= least
    return numbers[starts][is_frequent], np.minimum(sums[is_frequent], 2**32 - 1).astype(np.uint32)


def encode_counts(numbers: np.ndarray, counts: np.ndarray) -> bytes:
    return numbers.astype("<u8").tobytes() + counts.astype("<u4").tobytes()


def decode_counts(data: bytes | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, counts) from a file's bytes, which may be mapped into memory. Nothing is copied."""
    entries = len(data) // ENTRY_BYTES
    return np.frombuffer(data, "<u8", entries), np.frombuffer(data, "<u4", entries, entries * 8)
