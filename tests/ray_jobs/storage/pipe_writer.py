"""A writer for test_local_writes: it copies its first argument, a pipe, to its second until the test kills it."""

import sys
from pathlib import Path

from ray_jobs.storage import objects

objects.upload(Path(sys.argv[1]), sys.argv[2])
