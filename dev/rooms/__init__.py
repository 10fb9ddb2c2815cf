"""Folds the source files into rooms and shows which room imports which: as text, as JSON, or as a picture.

    python -m dev.rooms                                   # the working tree
    python -m dev.rooms --at e0c6db2 --svg before.svg     # any commit

`imports` reads the files, `plan` folds them into rooms and finds the floors, `order` declares which room may import
which, `picture` draws. tests/test_rooms.py refuses what this script would draw in red.
"""
