"""How many images are enough, by doubling and halving."""

from collections.abc import Callable


def find_smallest_n(enough: Callable[[int], bool], first: int, most: int, precision: int = 1000) -> int | None:
    """The smallest number from `first` on that is enough, at most a part in `precision` too large.

    None when more than `most` would be needed. If a number is enough, every larger one must be.
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
