"""The two kinds of failure, and the hint at the end of an error line.

Every program and every task translates these two classes into its exit code or its retry.
"""

import difflib


class InputError(Exception):
    """The request can never succeed as it is: a person must change something."""


class RetryableError(Exception):
    """A fault outside the request: the same job may succeed when it runs again."""


def suggest(name: str, known: list[str]) -> str:
    """Returns a hint for the end of an error line: the known name closest to a wrong name, or all known names."""
    by_spelling = {key.casefold().replace("-", "_"): key for key in known}
    close = difflib.get_close_matches(name.casefold().replace("-", "_"), by_spelling, n=1)
    return f"; did you mean {by_spelling[close[0]]!r}?" if close else f"; known: {', '.join(known)}"
