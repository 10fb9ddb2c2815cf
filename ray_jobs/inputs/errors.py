"""The two ways to fail, and how an error line ends."""

import difflib


class InputError(Exception):
    """What was asked for cannot be done however often it is tried: a person has to change something."""


class RetryableError(Exception):
    """The world was in the way: the same job may succeed when it is tried again."""


def nearest(name: str, known: list[str]) -> str:
    """A hint to end an error line with: the known name closest to a wrong one, or all of them."""
    by_spelling = {key.casefold().replace("-", "_"): key for key in known}
    close = difflib.get_close_matches(name.casefold().replace("-", "_"), by_spelling, n=1)
    return f"; did you mean {by_spelling[close[0]]!r}?" if close else f"; known: {', '.join(known)}"
