"""Locks a file, prints `held` and holds the lock until a line on its standard input.

python hold_lock.py FILE
"""

import sys

from filelock import FileLock

with FileLock(sys.argv[1]):
    print("held", flush=True)
    input()
