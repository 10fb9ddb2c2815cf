"""Keep the router from opening a checkpoint again after two unexpected failures, until the checkpoint changes.

The survey of the router calls this. Each entry is a JSON file, `{root}/quarantine/{digest of the checkpoint's
URI}.json`. A person ends the quarantine by deleting that file. A changed checkpoint ends it by itself. InputError and
Incomplete never count, because they are verdicts on the checkpoint.

The router writes the failure before it opens a checkpoint and removes it afterwards, because a process that is killed,
or that runs out of memory or time, can write nothing. Checkpoints with such an entry are opened one at a time: if
several were open when the process was killed, only the checkpoint that kills it again is quarantined.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import islice
from threading import Lock

from ray_jobs.contract.ids import digest
from ray_jobs.contract.stored_model import StoredModel
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files, object_listing, objects, uris
from ray_jobs.storage.odd_items import describe

NEVER_CAME_BACK = "its reading was begun and never came back: killed, out of memory, or out of time"
MAX_BYTES = 64 << 10  # of one entry
MAX_FAILURES = 2  # one failure may be an accident of the machine
MAX_ENTRIES = 10_000  # that one pass lists


class QuarantineEntry(StoredModel):
    uri: str
    listing: str
    failures: int
    why: str
    at: datetime


@contextmanager
def _skip_newer_files() -> Iterator[None]:
    """Leave a file as it is if it has a newer schema or is too large. The pass continues without it."""
    try:
        yield
    except InputError as error:
        print(f"left alone: {error}")


class Quarantine:
    """The quarantine of a storage root. Entries are listed once, and read only for checkpoints that have one."""

    def __init__(self, root: str) -> None:
        self._folder = f"{uris.make_absolute(root)}/quarantine"
        self._keys = {entry.key for entry in islice(object_listing.iterate_entries(self._folder), MAX_ENTRIES)}
        self._entries_before: dict[str, QuarantineEntry | None] = {}  # by URI of an open checkpoint: its entry before
        self._suspect_lock = Lock()

    def find_refusal(self, uri: str, listing: str) -> str | None:
        """Why the checkpoint with this listing must not be opened, and how to end that. None if it may be opened."""
        entry = self._load_entry(uri)
        if entry is None or entry.listing != listing or entry.failures < MAX_FAILURES:
            return None
        return f"in quarantine after {entry.failures} failures ({entry.why}); change it, or delete {self._uri_of(uri)}"

    @contextmanager
    def guard_read(self, uri: str, listing: str) -> Iterator[None]:
        """A context in which the caller reads the checkpoint. A failure is stored until the context ends.

        If the task itself ends (Airflow's timeout, a signal), the failure stays. `add_failure` inside counts once.
        """
        before = self._load_entry(uri)
        is_suspect = before is not None and before.listing == listing
        with self._suspect_lock if is_suspect else nullcontext():
            self._write_failure(uri, listing, before.failures if before and is_suspect else 0, NEVER_CAME_BACK)
            self._entries_before[uri] = before
            try:
                yield
            except Exception:
                self._restore_entry(uri)
                raise
            self._restore_entry(uri)

    def add_failure(self, uri: str, listing: str, error: Exception) -> None:
        """Store a failure of the checkpoint that the caller has open in `guard_read`."""
        before = self._entries_before.pop(uri)
        self._write_failure(
            uri, listing, before.failures if before and before.listing == listing else 0, describe(error)
        )

    def _restore_entry(self, uri: str) -> None:
        """Restore the entry from before `guard_read`, unless `add_failure` or `lift` was called since."""
        if uri not in self._entries_before:
            return
        before = self._entries_before.pop(uri)
        if before is None:
            self.lift(uri)
        else:
            with _skip_newer_files():
                json_files.replace(self._uri_of(uri), before)

    def _write_failure(self, uri: str, listing: str, failures_before: int, why: str) -> None:
        entry = QuarantineEntry(uri=uri, listing=listing, failures=failures_before + 1, why=why, at=datetime.now(UTC))
        with _skip_newer_files():
            if self._key_of(uri) in self._keys:
                json_files.replace(self._uri_of(uri), entry)
            else:
                objects.create(self._uri_of(uri), entry.model_dump_json(indent=1).encode())
            self._keys.add(self._key_of(uri))

    def lift(self, uri: str) -> None:
        """Remove the entry of a checkpoint that was read without a failure."""
        self._entries_before.pop(uri, None)
        if self._key_of(uri) in self._keys:
            with _skip_newer_files():
                json_files.remove(self._uri_of(uri))
            self._keys.discard(self._key_of(uri))

    def _load_entry(self, uri: str) -> QuarantineEntry | None:
        if self._key_of(uri) not in self._keys:
            return None
        try:
            return json_files.load(QuarantineEntry, self._uri_of(uri), MAX_BYTES)
        except (
            FileNotFoundError,
            InputError,
            ValueError,
        ):  # lifted meanwhile, not readable, or newer: it is opened again
            return None

    def _key_of(self, uri: str) -> str:
        return f"{digest(uri)}.json"

    def _uri_of(self, uri: str) -> str:
        return f"{self._folder}/{self._key_of(uri)}"
