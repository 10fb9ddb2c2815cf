"""Turns the errors of a store or a disk into one line that names the object, the fault and the remedy.

`storage.objects` wraps each of its calls in `explain_errors`, in the control plane and in the jobs. No message holds a
key, a password or the query of an address.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray_jobs.inputs.errors import InputError, RetryableError

DENIED = {
    "AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "401",
    "Unauthorized", "AccountProblem", "NotSignedUp",
}  # fmt: skip
REMEDIES = {
    "NoSuchBucket": "there is no such bucket; create it or correct the URI",
    "RequestTimeTooSkewed": "the clock of this machine differs from the store's; set it",
    "PermanentRedirect": "the bucket is in another region; set AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_DEFAULT_REGION",
    "InvalidObjectState": "the object is archived; restore it first",
    "InvalidBucketName": "no bucket can have this name; correct the URI",
    "KeyTooLongError": "the key is too long; shorten it",
} | dict.fromkeys(
    ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired", "InvalidToken"),
    "the AWS credentials have expired or are not valid any more; renew them",
)
MISSING = {"NoSuchKey", "404", "NotFound"}
FULL = {errno.ENOSPC, errno.EDQUOT}
UNREADABLE = {
    errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO,
    errno.ENODEV,
}  # fmt: skip
LONGEST_KEY = 1024  # bytes; S3's limit
SHOWN = 400  # characters of a URI in a message


@contextmanager
def explain_errors(uri: str, action: str) -> Iterator[None]:
    """Raise any error of the block as an InputError or a RetryableError of one line.

    FileNotFoundError passes, because callers use it to ask whether an object is there.
    """
    try:
        _check_name(uri)
        yield
    except (FileNotFoundError, InputError, RetryableError):
        raise
    except ValueError as error:  # such as half a surrogate or a null byte
        fault = ascii(str(error))[1:-1]
        raise InputError(f"cannot {action} {show_uri(uri)}: no such name can be ({fault}); correct the URI") from None
    except OSError as error:
        if error.errno in UNREADABLE:
            reason = f"{error.strerror}; check the path and its permissions"
            raise InputError(f"cannot {action} {show_uri(uri)}: {reason}") from error
        if error.errno in FULL:
            raise InputError(
                f"cannot {action} {show_uri(uri)}: the disk is full; free space or move ASSAY_ROOT, then rerun"
            ) from error
        if error.errno == errno.EROFS:
            raise InputError(
                f"cannot {action} {show_uri(uri)}: the file system is read-only; choose another ASSAY_ROOT"
            ) from error
        raise RetryableError(f"cannot {action} {show_uri(uri)}: {error}") from error
    except Exception as error:
        raise _explain_s3(error, uri, action) from error


def _check_name(uri: str) -> None:
    """Raises ValueError for a URI that no object can have."""
    if "\0" in uri:
        raise ValueError("embedded null byte")
    if not uri.startswith("s3://"):
        os.fsencode(uri)
        return
    if ".." in uri.split("/"):
        raise ValueError("a key has no parent folder")
    if len(uri.removeprefix("s3://").partition("/")[2].encode()) > LONGEST_KEY:
        raise ValueError(f"its key has more than {LONGEST_KEY} bytes")


def show_uri(uri: str) -> str:
    """Returns the URI for a message: printable, of bounded length, without a user or a web address's query."""
    scheme, separator, rest = uri.partition("://")
    if separator:
        user, _, host = rest.partition("/")[0].rpartition("@")
        rest = rest[len(user) + 1 :] if user and host else rest  # the user part may hold a key
        uri = f"{scheme}://{rest if scheme in ('s3', 'file') else rest.partition('?')[0]}"
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in uri)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 2 :]}"


def _explain_s3(error: Exception, uri: str, action: str) -> Exception:
    """Returns the error as FileNotFoundError, InputError or RetryableError; RetryableError for an unknown error."""
    import botocore.exceptions as botocore

    failure = f"cannot {action} {show_uri(uri)}"
    if isinstance(error, botocore.ClientError):
        code = error_code(error)
        if code in MISSING:
            return FileNotFoundError(errno.ENOENT, "no such object", show_uri(uri))
        if code in REMEDIES:
            return InputError(f"{failure}: {REMEDIES[code]}")
        if code in DENIED:
            return InputError(f"{failure}: access denied ({code}); check the AWS credentials and the policy")
    elif isinstance(error, botocore.NoCredentialsError | botocore.PartialCredentialsError):
        return InputError(f"{failure}: no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    elif isinstance(error, _settings_at_fault(botocore)):
        return InputError(f"{failure}: {_format_line(error)}; check the AWS settings and the URI")
    elif not isinstance(error, botocore.BotoCoreError):
        return RetryableError(f"{failure}: {type(error).__name__}: {_format_line(error)}")
    return RetryableError(f"{failure}: {_format_line(error)}")


def _settings_at_fault(botocore: Any) -> tuple[type[Exception], ...]:
    return (
        botocore.ParamValidationError, botocore.ProfileNotFound, botocore.NoRegionError, botocore.ConfigParseError,
        botocore.InvalidRegionError, botocore.SSOError, botocore.TokenRetrievalError,
    )  # fmt: skip


def _format_line(error: object) -> str:
    """Returns the text of an error on one line, without the user and query of an address, which may be secret."""
    text = re.sub(r"(\w+://)[^/\s\"'@]*@", r"\1", " ".join(str(error).split()))
    return show_uri(re.sub(r"\?[^\s\"'<>]*=[^\s\"'<>]*", "", text))


def error_code(error: Any) -> str:
    """Returns the code of a botocore ClientError, "" if the store gave none."""
    return str(error.response.get("Error", {}).get("Code", ""))
