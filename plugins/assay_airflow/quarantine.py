"""Checkpoints whose reading failed twice in a way that nobody expected, or never came back: not read until they change.

One small JSON each at `{root}/quarantine/{digest of the checkpoint's URI}.json`. A person lifts it by deleting that
file; a changed checkpoint lifts it by itself. Errors that judge the checkpoint (InputError, Incomplete) never count.

A reading is noted as a failure before it begins, because a process that is killed, or that runs out of memory or time,
notes nothing afterwards. Whoever comes back takes that note back. Checkpoints with such a note are read one at a time:
of several that were being read when the process was killed, only the one that kills it again is quarantined.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import islice
from threading import Lock

from ray_jobs.contract.ids import digest
from ray_jobs.contract.stored_model import StoredModel
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files, objects
from ray_jobs.storage.odd_items import describe

NEVER_CAME_BACK = "its reading was begun and never came back: killed, out of memory, or out of time"
LARGEST = 64 << 10  # bytes of one
FAILURES = 2  # the first one may be a machine's bad moment
MOST = 10_000  # quarantined checkpoints that are looked for


class Quarantined(StoredModel):
    uri: str
    listing: str
    failures: int
    why: str
    at: datetime


@contextmanager
def _left_to_a_newer_assay() -> Iterator[None]:
    """A file of a newer schema, or one too large to tell, stays as it is, and the pass goes on without it."""
    try:
        yield
    except InputError as error:
        print(f"left alone: {error}")


class Quarantine:
    """All that is in quarantine below a root; listed once, read only for checkpoints that are in it."""

    def __init__(self, root: str) -> None:
        self._folder = f"{objects.absolute(root)}/quarantine"
        self._keys = {entry.key for entry in islice(objects.entries(self._folder), MOST)}
        self._begun: dict[str, Quarantined | None] = {}  # what was noted of those that are being read
        self._one_suspect = Lock()

    def refusal(self, uri: str, listing: str) -> str | None:
        """Why the checkpoint with this listing is not to be opened, and how a person lifts that; None when it is."""
        entry = self._read(uri)
        if entry is None or entry.listing != listing or entry.failures < FAILURES:
            return None
        return f"in quarantine after {entry.failures} failures ({entry.why}); change it, or delete {self._uri(uri)}"

    @contextmanager
    def reading(self, uri: str, listing: str) -> Iterator[None]:
        """Read the checkpoint in this context: noted as a failure until the context ends with any exception or none.

        What ends the task itself (Airflow's timeout, a signal) leaves the note. `add_failure` within it counts once.
        """
        before = self._read(uri)
        suspect = before is not None and before.listing == listing
        with self._one_suspect if suspect else nullcontext():
            self._note(uri, listing, before.failures if before and suspect else 0, NEVER_CAME_BACK)
            self._begun[uri] = before
            try:
                yield
            except Exception:
                self._take_back(uri)
                raise
            self._take_back(uri)

    def add_failure(self, uri: str, listing: str, error: Exception) -> None:
        """Count a failure of a reading, which must be under way."""
        before = self._begun.pop(uri)
        self._note(uri, listing, before.failures if before and before.listing == listing else 0, describe(error))

    def _take_back(self, uri: str) -> None:
        """Restore what was noted before the reading began, unless that has failed or the checkpoint was lifted."""
        if uri not in self._begun:
            return
        before = self._begun.pop(uri)
        if before is None:
            self.lift(uri)
        else:
            with _left_to_a_newer_assay():
                json_files.replace(self._uri(uri), before)

    def _note(self, uri: str, listing: str, before: int, why: str) -> None:
        failed = Quarantined(uri=uri, listing=listing, failures=before + 1, why=why, at=datetime.now(UTC))
        with _left_to_a_newer_assay():
            if self._key(uri) in self._keys:
                json_files.replace(self._uri(uri), failed)
            else:
                objects.create(self._uri(uri), failed.model_dump_json(indent=1).encode())
            self._keys.add(self._key(uri))

    def lift(self, uri: str) -> None:
        """Forget what was noted of a checkpoint that has been read."""
        self._begun.pop(uri, None)
        if self._key(uri) in self._keys:
            with _left_to_a_newer_assay():
                json_files.remove(self._uri(uri))
            self._keys.discard(self._key(uri))

    def _read(self, uri: str) -> Quarantined | None:
        if self._key(uri) not in self._keys:
            return None
        try:
            return json_files.load(Quarantined, self._uri(uri), LARGEST)
        except (
            FileNotFoundError,
            InputError,
            ValueError,
        ):  # lifted meanwhile, not readable, or newer: it is opened again
            return None

    def _key(self, uri: str) -> str:
        return f"{digest(uri)}.json"

    def _uri(self, uri: str) -> str:
        return f"{self._folder}/{self._key(uri)}"
