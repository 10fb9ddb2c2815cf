"""Counts the words that the style guide replaces: in names and in prose.

    python -m dev.wording                  # the working tree
    python -m dev.wording --at e0c6db2     # any commit
    python -m dev.wording --list           # with the place of each

`tables` holds the words, `names` reads identifiers, `sentences` reads docstrings, comments
and pages.
"""
