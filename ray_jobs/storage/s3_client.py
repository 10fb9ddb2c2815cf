"""Holds the S3 client of this process, and tells an expected refusal of S3 from a failure.

`objects` and `object_listing` call this module, in the control plane and in the jobs. S3 takes the usual AWS variables,
`AWS_ENDPOINT_URL` among them.
"""

import os
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from ray_jobs.storage.error_lines import error_code

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SERVICE_FILES = ("service-2", "endpoint-rule-set-1", "waiters-2", "paginators-1")
COMMON_FILES = ("endpoints", "partitions", "sdk-default-configuration", "_retry")

_cache = SimpleNamespace(client=None, owner=None, session=None)
_lock = threading.Lock()


def read_descriptions() -> None:
    """Read boto3 and its descriptions of S3, so that this process and its forks make a client without reading them.

    Opens no connection and looks for no credentials. Does nothing when it is called again, in a fork for example.
    """
    if _cache.session:
        return
    import boto3
    from botocore.session import get_session

    session = get_session()
    loader = session.get_component("data_loader")
    for name in COMMON_FILES:
        loader.load_data(name)
    for name in SERVICE_FILES:
        loader.load_service_model("s3", name)
    _cache.session = boto3.session.Session(botocore_session=session)


def get_client() -> "S3Client":
    """Returns the client of this process. Threads share the client, and a fork creates its own."""
    with _lock:
        if _cache.owner != os.getpid():
            import boto3
            from botocore.config import Config

            session = _cache.session or boto3.session.Session()
            _cache.client = session.client(
                "s3",
                config=Config(
                    retries={"mode": "standard", "max_attempts": 5},
                    s3={"addressing_style": _choose_addressing_style()},
                    connect_timeout=10,
                    read_timeout=60,
                    max_pool_connections=64,
                ),
            )
            _cache.owner = os.getpid()
        client: S3Client = _cache.client
        return client


def _choose_addressing_style() -> Literal["path", "auto"]:
    """Returns path style for a custom endpoint: most S3 servers other than AWS have no host name per bucket."""
    return "path" if os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL_S3") else "auto"


def succeeds(call: Callable[[], Any], refusals: set[str]) -> bool:
    """Returns True when the S3 call succeeds, False when it fails with one of the codes in `refusals`."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        if error_code(error) in refusals:
            return False
        raise
    return True
