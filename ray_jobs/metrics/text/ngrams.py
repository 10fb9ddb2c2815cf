"""Compute the word n-grams of many texts at once, as 64-bit numbers.

Two n-grams share a number with probability 2^-64. 1.28 million images with five references each have 2.4e8 n-grams. One
in seven hundred such sets has a pair that shares a number.
"""

import numpy as np

ORDERS = 4
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def number_ngrams(terms: np.ndarray, lengths: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """(the n-grams of one order, the index of the text of each). `terms` has the terms of all texts, text by text."""
    text = np.repeat(np.arange(len(lengths)), lengths)
    if order == 1:
        return terms, text
    last = len(terms) - order + 1
    if last <= 0:
        return terms[:0], text[:0]
    hashes = terms[:last]
    for step in range(1, order):
        hashes = mix_bits(hashes * MULTIPLIER + terms[step : last + step])
    is_whole = text[:last] == text[order - 1 :]
    return hashes[is_whole], text[:last][is_whole]


def mix_bits(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64. It spreads numbers evenly, so the upper bits can cut a table into even ranges."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = numbers ^ (numbers >> np.uint64(31))
    return mixed


def number_texts(terms: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """One number per text, which is the same for texts with the same terms in the same order."""
    place = np.arange(len(terms)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    placed = mix_bits(terms + mix_bits((place + 1).astype(np.uint64) * MULTIPLIER))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(placed, dtype=np.uint64)])
    ends = np.cumsum(lengths)
    return mix_bits(sums[ends] - sums[ends - lengths] + lengths.astype(np.uint64) * MULTIPLIER)
