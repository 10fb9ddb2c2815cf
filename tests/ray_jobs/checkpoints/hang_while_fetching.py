"""Begins to copy a checkpoint into the node's cache, prints a line, and waits in the first download until it is killed.

python hang_while_fetching.py CHECKPOINT
"""

import sys
from pathlib import Path

from ray_jobs.checkpoints import inspect, node_cache
from ray_jobs.storage import objects


def hang(uri: str, path: Path) -> None:
    print(flush=True)
    sys.stdin.read()


vars(objects)["download"] = hang
node_cache.fetch(inspect.resolve(sys.argv[1]))
