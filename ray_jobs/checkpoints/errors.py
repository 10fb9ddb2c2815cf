"""Name the faults of a checkpoint, and turn any other exception into one of them.

Every reader of a checkpoint uses this module, in both planes. It raises InputError when waiting cannot help, Incomplete
when an upload seems to be under way, and RetryableError when the storage does not answer.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Never, ParamSpec, TypeVar

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable

PERMANENT = {
    errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM,
}  # fmt: skip
LONGEST_URI = 1_024  # bytes of a key on S3
Args = ParamSpec("Args")
Result = TypeVar("Result")


class Incomplete(Exception):
    """The checkpoint is not complete yet. The message names the missing file or bytes."""


class NeverWhole(InputError):
    """The folder is not a checkpoint and will not become one, unless an upload is still under way."""


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turn every exception of the block into InputError, Incomplete or RetryableError with the URI in its message.

    So a broken checkpoint does not stop the work on other checkpoints.
    """
    subject = f"checkpoint {printable(uri)}"
    try:
        if len(os.fsencode(uri)) > LONGEST_URI or not uri.isprintable():
            raise InputError(
                f"{subject}: its URI is too long or has characters that cannot be shown; rename the folder"
            )
        yield
    except RetryableError:
        raise
    except (InputError, Incomplete) as error:
        if uri in str(error) or str(error).startswith("checkpoint "):
            raise
        raise type(error)(f"{subject}: {error}") from error
    except FileNotFoundError:
        raise Incomplete(f"{subject}: a file went away while it was looked at; wait for the upload") from None
    except UnicodeEncodeError:
        raise InputError(f"{subject}: its URI or a name in it is not text; rename it") from None
    except (OSError, MemoryError) as error:  # the machine or the mount may be at fault: a retry may succeed
        raise_by_errno(error, subject, "read")
    except Exception as error:
        fault = printable(f"{type(error).__name__}: {error}")
        raise InputError(f"{subject}: it cannot be judged ({fault}); save the checkpoint again") from error


def translates_errors(reader: Callable[Args, Result]) -> Callable[Args, Result]:
    """Wrap a reader in `translate_errors`. Its first argument must be a URI or a Checkpoint."""

    @wraps(reader)
    def read_translated(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        first: Any = args[0] if args else next(iter(kwargs.values()))
        with translate_errors(first if isinstance(first, str) else first.uri):
            return reader(*args, **kwargs)

    return read_translated


def raise_by_errno(error: OSError | MemoryError, subject: str, action: str) -> Never:
    """Raise InputError if the file is at fault, RetryableError if the mount or the machine may recover."""
    if isinstance(error, OSError) and error.errno in PERMANENT:
        raise InputError(f"{subject}: cannot be {action} ({error.strerror}); save it again") from None
    reason = printable(getattr(error, "strerror", None) or type(error).__name__)
    raise RetryableError(
        f"{subject}: cannot be {action} ({reason}); look at the storage and this machine, then try again"
    ) from error
