"""An in-memory stand-in for S3, on 127.0.0.1. `s3_server` starts a real server."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def start_moto() -> Iterator[dict[str, str]]:
    """Serve while the block runs; yields the AWS variables to reach it with."""
    import moto.backends  # takes a second
    from moto.server import ThreadedMotoServer

    # For each request, moto looks at some 300 files of its own, and werkzeug formats a log line: a third of the time.
    services = list(moto.backends.list_of_moto_modules())
    moto.backends.list_of_moto_modules = lambda: services
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.stop()
