"""Checkpoints whose reading failed twice in a way that nobody expected, or took too long: not opened until they change.

One small JSON each at `{root}/quarantine/{digest of the checkpoint's URI}.json`. A person lifts it by deleting that
file; a changed checkpoint lifts it by itself. Errors that judge the checkpoint (BadInput, Incomplete) never count.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice

from ray_jobs import storage, stored
from ray_jobs.contract import digest
from ray_jobs.errors import BadInput
from ray_jobs.odd_items import describe
from ray_jobs.schema import StoredModel

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
    except BadInput as error:
        print(f"left alone: {error}")


class Quarantine:
    """All that is in quarantine below a root; listed once, read only for checkpoints that are in it."""

    def __init__(self, root: str) -> None:
        self._folder = f"{storage.absolute(root)}/quarantine"
        self._keys = {entry.key for entry in islice(storage.entries(self._folder), MOST)}

    def refusal(self, uri: str, listing: str) -> str | None:
        """Why the checkpoint with this listing is not to be opened, and how a person lifts that; None when it is."""
        entry = self._read(uri)
        if entry is None or entry.listing != listing or entry.failures < FAILURES:
            return None
        return f"in quarantine after {entry.failures} failures ({entry.why}); change it, or delete {self._uri(uri)}"

    def add_failure(self, uri: str, listing: str, error: Exception) -> None:
        entry = self._read(uri)
        before = entry.failures if entry and entry.listing == listing else 0
        failed = Quarantined(uri=uri, listing=listing, failures=before + 1, why=describe(error), at=datetime.now(UTC))
        with _left_to_a_newer_assay():
            stored.replace(self._uri(uri), failed)
            self._keys.add(self._key(uri))

    def lift(self, uri: str) -> None:
        """Forget what was noted of a checkpoint that has been read."""
        if self._key(uri) in self._keys:
            with _left_to_a_newer_assay():
                stored.remove(self._uri(uri))
            self._keys.discard(self._key(uri))

    def _read(self, uri: str) -> Quarantined | None:
        if self._key(uri) not in self._keys:
            return None
        try:
            return stored.load(Quarantined, self._uri(uri), LARGEST)
        except (
            FileNotFoundError,
            BadInput,
            ValueError,
        ):  # lifted meanwhile, not readable, or newer: it is opened again
            return None

    def _key(self, uri: str) -> str:
        return f"{digest(uri)}.json"

    def _uri(self, uri: str) -> str:
        return f"{self._folder}/{self._key(uri)}"
