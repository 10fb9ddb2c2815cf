"""Find how many images are enough, by doubling and halving."""

from collections.abc import Callable


def find_smallest_n(enough: Callable[[int], bool], first: int, most: int, precision: int = 1000) -> int | None:
    """The smallest number from `first` on that is enough. The result is too large by at most 1/`precision` of it.

    None when more than `most` would be needed. If a number is enough, every larger number must be enough too.
    """
    few, many = 0, first
    while not enough(many):
        few, many = many, 2 * many
        if many > most:
            return None
    while few and many - few > max(1, few // precision):
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many
