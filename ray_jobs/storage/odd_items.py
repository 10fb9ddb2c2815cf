"""One odd item never stops the others: what a loop over things from outside says of an item that it leaves out.

Every such loop catches whatever one item raises, says one line, and goes on. An outage is not an item's fault: a loop
calls `raise_outage` first, so that a store that is away never looks like a store with nothing in it.
"""

from ray_jobs.inputs.errors import RetryableError
from ray_jobs.inputs.names import excerpt, printable
from ray_jobs.storage import objects


def describe(error: Exception, at_most: int = 300) -> str:
    """What an error says, on one printable line; errors that are not ours begin with their class."""
    try:
        text = str(error)
    except Exception:  # of an exception that cannot be shown
        text = ""
    if not _is_ours(error):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return excerpt(text, at_most)


def refusal(what: str, error: Exception) -> str:
    """The line that names `what`, the item that raised the error; an error that names it already is left as it is."""
    line, name = describe(error, 600), printable(what)
    return line if name in line else f"{name}: {line}"


def is_of_store(error: Exception) -> bool:
    """Whether an error may be the store's and not the item's: a request that failed, not a content that is wrong."""
    cause = _cause(error)
    by_store = isinstance(cause, OSError) or type(cause).__module__.startswith("botocore")
    if isinstance(cause, MemoryError):  # tried again, but not for ever: the item may be what needs so much
        return False
    return isinstance(error, RetryableError) or (_is_ours(error) and by_store)


def is_unexpected(error: Exception) -> bool:
    """Whether nobody foresaw the error, so that reading the same item again could cost as much again."""
    return not is_of_store(error) and not (_is_ours(error) and _cause(error) is None)


def raise_outage(error: Exception, uri: str) -> None:
    """Raises what listing `uri` raises, if the error may be the store's; returns when it is the item's own."""
    if is_of_store(error):
        next(iter(objects.entries(uri)), None)


def _is_ours(error: BaseException) -> bool:
    return type(error).__module__.startswith("ray_jobs.")


def _cause(error: BaseException) -> BaseException | None:
    """What an error of ours was made of, None when it is a judgement of its own."""
    cause: BaseException | None = error
    while cause is not None and _is_ours(cause):
        cause = cause.__cause__
    return cause
