"""What every folder of tests shares: one S3 server, and what clients read once a process."""

import atexit
import functools
import gc
import os
import ssl
from collections.abc import Generator, Iterator
from contextlib import suppress

import pytest

# Hundreds of tests make a client of their own. Each would read a megabyte of JSON for S3 (0.15 s of a core), or all
# certificates of the system for an endpoint (0.04 s): both are read once. An environment may lack either library.
with suppress(ImportError):
    import botocore.session

    botocore.session.create_loader = functools.cache(botocore.session.create_loader)

with suppress(ImportError):
    import httpcore2

    _read_certificates = httpcore2.default_ssl_context

    @functools.cache
    def _certificates(_file: str | None, _folder: str | None, trust_env: bool) -> ssl.SSLContext:
        return _read_certificates(_trust_env=trust_env)

    httpcore2.default_ssl_context = lambda *, _trust_env=True: _certificates(
        os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"), _trust_env
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests without the garbage collector, and keep it from what they imported.

    That is millions of objects (torch, transformers, Ray, Airflow, all tests) which live until the end. Each full
    collection would look at all of them, for half a second, hundreds of times in a run. Not even one looks at them now,
    because little of this is garbage.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# Or libraries report at exit that their objects leaked. Not earlier, because pytest's last five collections would walk
# all of these objects.
atexit.register(gc.unfreeze)


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The AWS variables of a running Swift with its S3 API."""
    import s3_server

    with s3_server.start_swift(tmp_path_factory.mktemp("swift")) as variables:
        yield variables
