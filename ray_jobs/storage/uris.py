"""Reads the URIs of objects: `s3://bucket/key`, `file:///path` or a plain path.

The control plane and the jobs use this module. It opens nothing.
"""

from pathlib import Path

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage.error_lines import show_uri


def is_s3(uri: str) -> bool:
    """Whether the URI names an object on S3.

    Raises InputError for a scheme other than `s3://` and `file://`, for an S3 URI without a bucket, and for an
    S3 URI that holds a key.
    """
    scheme, separator, rest = uri.partition("://")
    if separator and scheme not in ("s3", "file"):
        raise InputError(f"{show_uri(uri)}: cannot open {scheme}://; use s3://bucket/key or a local directory")
    if scheme == "s3" and separator and not rest.split("/")[0]:
        raise InputError(f"{show_uri(uri)}: names no bucket; use s3://bucket/key")
    if scheme == "s3" and "@" in rest.split("/")[0]:
        raise InputError(f"{show_uri(uri)}: holds a key; take it out of the URI and set AWS_ACCESS_KEY_ID instead")
    return bool(separator) and scheme == "s3"


def local_path(uri: str) -> Path | None:
    """Returns the path of a local URI, None for S3."""
    return None if is_s3(uri) else path_of(uri)


def make_absolute(uri: str) -> str:
    """Returns an S3 URI without its trailing slash, and a local URI as an absolute path.

    An absolute path means the same in every process.
    """
    return uri.rstrip("/") if is_s3(uri) else str(path_of(uri).expanduser().absolute())


def path_of(uri: str) -> Path:
    """Returns the path of a URI that is not on S3, relative if the URI is."""
    return Path(uri.removeprefix("file://"))


def split_s3(uri: str) -> tuple[str, str]:
    """Returns the bucket and the key of an S3 URI. The key is empty for the bucket itself."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
