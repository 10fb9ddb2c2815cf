"""An in-memory stand-in for S3, on 127.0.0.1. `s3_server` starts a real server."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def start_moto() -> Iterator[dict[str, str]]:
    """Serve while the block runs; yields the AWS variables to reach it with."""
    from moto.server import ThreadedMotoServer  # takes a second

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
