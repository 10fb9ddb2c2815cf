"""Arrow's file systems for the same URIs and AWS variables that `storage` takes, for reading parts of large files."""

import os

import pyarrow.fs as fs

from ray_jobs import storage


def arrow_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI and the path within it."""
    if not storage.is_s3(uri):
        return fs.LocalFileSystem(), str(storage.local_path(uri))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(endpoint_override=endpoint, region=region), uri.removeprefix("s3://")
