"""Open every folder below a folder of checkpoints, and return a checkpoint or the reason why it is none.

The router calls this in the task `reconcile`. A folder whose listing is known is not opened again. A fault of one
folder affects no other; only an outage of the store ends the survey.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from assay_airflow.fingerprint_cache import resolve
from assay_airflow.known_checkpoints import KnownCheckpoint, KnownCheckpoints
from assay_airflow.listings import Listing, list_checkpoint, list_checkpoints
from assay_airflow.quarantine import Quarantine
from ray_jobs.checkpoints.adapter_base import is_adapter
from ray_jobs.checkpoints.former_fingerprints import has_runs
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import check_name, printable
from ray_jobs.planning.suites import load_suite
from ray_jobs.storage import odd_items, uris

MAX_CONCURRENT = 8  # on S3, where opening waits for the network; in a directory, hashing has its own threads
MIN_UNREADABLE = 3  # if so many checkpoints were opened and none was readable, the store is down


class Finding(NamedTuple):
    """A folder's checkpoint, or in `refusal` why the folder is passed over. Opening the folder raised `error`."""

    name: str
    checkpoint: Checkpoint | None = None
    refusal: str | None = None
    error: Exception | None = None
    answer: KnownCheckpoint | None = None


class Survey:
    """The folders below `uri`, as checkpoints for a suite. `reopen`: open folders again that were refused before."""

    def __init__(self, root: str, suite_name: str, uri: str, reopen: bool = True) -> None:
        self.uri, self.root, self._suite_name, self._reopen = uri, uris.make_absolute(root), suite_name, reopen
        self._listings = list_checkpoints(uri)
        self._known = KnownCheckpoints(self.root, uri)
        self._quarantine = Quarantine(self.root)
        self._bases: dict[str, Listing] = {}
        self.unreadable: list[Exception] = []
        self.opened = 0

    def findings(self) -> Iterator[Finding]:
        """Yield one finding per folder, in the order of names. Raises RetryableError or InputError in an outage."""
        concurrency = MAX_CONCURRENT if uris.is_s3(self.uri) else 1
        folders = iter(self._listings.items())
        self._known.keep_only(set(self._listings))
        try:
            with ThreadPoolExecutor(concurrency) as pool:
                while batch := list(islice(folders, 4 * concurrency)):
                    for finding in pool.map(self._examine, *zip(*batch, strict=True)):
                        self._remember(finding)
                        yield finding
        finally:
            self._known.save()

    def raise_if_nothing_could_be_read(self) -> None:
        """Raises RetryableError if the store failed for every checkpoint that was opened, and there were several."""
        if MIN_UNREADABLE <= len(self.unreadable) == self.opened and uris.is_s3(self.uri):
            first = odd_items.describe(self.unreadable[0])
            raise RetryableError(
                f"checkpoints {self.uri}: none of {self.opened} could be read, so this is an outage: {first}"
            )

    def _examine(self, name: str, listing: Listing) -> Finding:
        uri = f"{self.uri}/{name}"
        try:
            check_name(name, "checkpoint")
        except InputError as fault:
            return Finding(name, refusal=odd_items.describe(fault))
        if listing.error:
            return Finding(name, refusal=odd_items.refusal(f"checkpoint {uri}", listing.error), error=listing.error)
        answer = self._known.get(name, listing.digest)
        if answer and self._is_valid(answer):
            return Finding(name, answer.checkpoint, answer.refusal)
        if refusal := self._quarantine.find_refusal(uri, listing.digest):
            return Finding(name, refusal=f"checkpoint {printable(uri)}: {refusal}")
        with self._quarantine.guard_read(uri, listing.digest):
            return self._open(name, uri, listing.digest)

    def _open(self, name: str, uri: str, listing: str) -> Finding:
        try:
            base_model = self._base_model if is_adapter(uri) else None
            checkpoint = resolve(self.root, uri, base_model)
        except Exception as error:  # a fault of this folder stops no other
            refusal = odd_items.refusal(f"checkpoint {uri}", error)
            if odd_items.is_unexpected(error):
                self._quarantine.add_failure(uri, listing, error)
            elif not odd_items.is_of_store(error):
                return Finding(
                    name, refusal=refusal, error=error, answer=KnownCheckpoint(listing=listing, refusal=refusal)
                )
            return Finding(name, refusal=refusal, error=error)
        self._quarantine.lift(uri)
        base = checkpoint.base and self._base_listing(checkpoint.base.uri)
        answer = KnownCheckpoint(
            listing=listing, checkpoint=checkpoint, base_model=base_model, base_listing=base.digest if base else None,
            of_loaded_files=True,
        )  # fmt: skip
        return Finding(name, checkpoint, answer=answer)

    def _remember(self, finding: Finding) -> None:
        """Cache the answer. Raises if the error is an outage of the whole store."""
        if finding.answer:
            self._known.put(finding.name, finding.answer)
        self.opened += finding.answer is not None or finding.error is not None
        if finding.error and odd_items.is_of_store(finding.error):
            odd_items.raise_outage(finding.error, self.uri)
            self.unreadable.append(finding.error)

    def _is_valid(self, answer: KnownCheckpoint) -> bool:
        """Whether a cached answer is valid, so that the folder need not be opened."""
        if answer.checkpoint is None:
            return not self._reopen
        if not answer.of_loaded_files and not has_runs(self.root, answer.checkpoint):
            return False
        base = answer.checkpoint.base
        if base is None:
            return True
        try:
            is_same_model = answer.base_model == self._base_model
        except (InputError, FileNotFoundError):
            is_same_model = False  # opening it says why
        return is_same_model and answer.base_listing == self._base_listing(base.uri).digest

    @cached_property
    def _base_model(self) -> str | None:
        return load_suite(self._suite_name).engine.base_model

    def _base_listing(self, uri: str) -> Listing:
        if uri not in self._bases:
            self._bases[uri] = list_checkpoint(uri)
        return self._bases[uri]
