"""Copies a checkpoint into the node's cache.

python fetch_checkpoint.py CHECKPOINT
"""

import sys

from ray_jobs.checkpoints.inspect import resolve
from ray_jobs.checkpoints.node_cache import fetch

fetch(resolve(sys.argv[1]))
