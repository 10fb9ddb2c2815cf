"""Describes an item that a loop leaves out, so that one odd item from outside never stops the others.

Loops over records, entries, folders and runs call it, in the control plane and in the jobs. Such a loop catches
everything that one item raises, reports one line, and goes on. An outage is not an item's fault. The loop therefore
calls `raise_outage` first, so that a store that does not answer never looks like an empty store.
"""

from ray_jobs.inputs.errors import RetryableError
from ray_jobs.inputs.names import excerpt, printable
from ray_jobs.storage import object_listing


def describe(error: Exception, at_most: int = 300) -> str:
    """Returns the text of an error on one printable line; the line of a foreign error begins with its class."""
    try:
        text = str(error)
    except Exception:  # the exception cannot be shown
        text = ""
    if not _is_ours(error):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return excerpt(text, at_most)


def refusal(what: str, error: Exception) -> str:
    """Returns the line about an error that begins with the item `what`, unless the error names the item already."""
    line, name = describe(error, 600), printable(what)
    return line if name in line else f"{name}: {line}"


def is_of_store(error: Exception) -> bool:
    """Whether the store may have caused the error, and not the item: a failed request, not a wrong content."""
    cause = _cause(error)
    by_store = isinstance(cause, OSError) or type(cause).__module__.startswith("botocore")
    if isinstance(cause, MemoryError):  # not retried for ever: the item itself may need so much memory
        return False
    return isinstance(error, RetryableError) or (_is_ours(error) and by_store)


def is_unexpected(error: Exception) -> bool:
    """Whether the code does not expect the error, so reading the same item again could cost as much again."""
    return not is_of_store(error) and not (_is_ours(error) and _cause(error) is None)


def raise_outage(error: Exception, uri: str) -> None:
    """List `uri` if the store may have caused the error, and raise what the listing raises. Otherwise return."""
    if is_of_store(error):
        next(iter(object_listing.iterate_entries(uri)), None)


def _is_ours(error: BaseException) -> bool:
    return type(error).__module__.startswith("ray_jobs.")


def _cause(error: BaseException) -> BaseException | None:
    """Returns the foreign error that caused an error of ours, None if our code raised it by itself."""
    cause: BaseException | None = error
    while cause is not None and _is_ours(cause):
        cause = cause.__cause__
    return cause
