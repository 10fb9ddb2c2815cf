"""Prepares a checkpoint's files for an engine's start, in a thread beside it. The actor calls it."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.checkpoints.readahead import read_ahead
from ray_jobs.checkpoints.verification import verify
from ray_jobs.contract.spec import Checkpoint


class CheckpointFiles(NamedTuple):
    """`copying` has the folder to load from, or the error of `fetch`. `hashing` ends with the error of `verify`."""

    copying: "Future[Path]"
    hashing: "Future[None]"


def fetch_in_thread(threads: ThreadPoolExecutor, checkpoint: Checkpoint) -> CheckpointFiles:
    """Copy the checkpoint to this node, hash its files, and read its weights ahead, in this order."""
    copying = threads.submit(fetch, checkpoint)
    hashing = threads.submit(verify, checkpoint)
    threads.submit(lambda: read_ahead(copying.result()))
    return CheckpointFiles(copying, hashing)
