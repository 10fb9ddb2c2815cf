"""Looks, between two polls of the watcher, at the folders alone that are new or may be under upload.

`CheckpointPrefixTrigger` calls this every few seconds. On S3 a look sends one request for the names of the folders, and
one per folder that may change. A poll lists every file, so the trigger polls only once per minute.

A checkpoint is ready if two looks find it whole and the same, and no file has changed for QUIET_S seconds by the clock
of the store. Without that clock, and for a checkpoint that was announced and has other content now, the polls decide:
somebody may write over it file by file, and it looks whole meanwhile.
"""

from collections.abc import Mapping
from typing import NamedTuple

from assay_airflow import router
from assay_airflow.listings import Listing, list_checkpoint
from assay_airflow.odd_folders import OddFolders
from ray_jobs.checkpoints.inspect import require_complete
from ray_jobs.inputs.names import check_name
from ray_jobs.storage.odd_items import raise_outage

QUIET_S = 8.0
MAX_FOLDERS = 10  # per look, the oldest steps first
MAX_EQUAL_POLLS = 10  # after so many without a change, only a poll looks at the folder: its upload was given up


class SeenFolder(NamedTuple):
    """A folder as the last look found it."""

    digest: str
    is_whole: bool


class NewFolders:
    """What the watcher has seen of each folder that is new or changes. It forgets them when the triggerer restarts."""

    def __init__(self) -> None:
        self._seen: dict[str, SeenFolder] = {}
        self._polled: dict[str, str] = {}
        self._equal_polls: dict[str, int] = {}

    def note_poll(self, digests: Mapping[str, str]) -> None:
        """Note the digests of all folders that a poll has listed, whole or not."""
        self._equal_polls = {
            name: self._equal_polls.get(name, 0) + 1 if self._polled.get(name) == digest else 0
            for name, digest in digests.items()
        }
        self._polled = dict(digests)

    def find_ready(self, uri: str, announced: Mapping[str, str], odd: OddFolders) -> dict[str, str]:
        """The digests of the new checkpoints below `uri` that are whole and do not change any more, by name.

        Raises InputError or RetryableError if the store cannot be read.
        """
        names = [name for name in router.list_names(uri) if name not in announced and self._may_change(name)]
        names = names[:MAX_FOLDERS]
        before, self._seen = self._seen, {}
        ready = {}
        for name in names:
            listing = list_checkpoint(f"{uri}/{name}")
            if listing.error:
                raise_outage(listing.error, uri)
                continue
            seen = before.get(name)
            is_same = seen is not None and seen.digest == listing.digest
            is_whole = seen.is_whole if seen and is_same else _is_whole(uri, name, listing, odd)
            self._seen[name] = SeenFolder(listing.digest, is_whole)
            if is_whole and is_same and listing.age is not None and listing.age >= QUIET_S:
                ready[name] = listing.digest
        return ready

    def _may_change(self, name: str) -> bool:
        return self._equal_polls.get(name, 0) < MAX_EQUAL_POLLS


def _is_whole(uri: str, name: str, listing: Listing, odd: OddFolders) -> bool:
    """Whether the folder is a complete checkpoint. Says nothing about a fault, because the next poll does."""
    if odd.must_skip(name, listing.digest):
        return False
    try:
        check_name(name, "checkpoint")
        require_complete(f"{uri}/{name}")
    except Exception as error:  # a fault of this folder stops no other
        raise_outage(error, uri)
        return False
    return True
