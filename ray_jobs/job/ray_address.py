"""Finds the Ray cluster that a job's driver joins, as Ray does, and checks that its head is alive.

`frame.connect` calls this in the job's driver. A Ray head that is killed leaves its address in a file. Ray itself then
waits for that address for a quarter of an hour or more, and logs nothing.
"""

import logging
import os
import socket

from ray._private import services
from ray._private.utils import get_ray_address_file

from ray_jobs.inputs.errors import RetryableError

log = logging.getLogger("assay")
SECONDS = 10.0  # within which a living head greets
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # HTTP/2's, with empty settings
SETTINGS = 4  # the type of the frame that a server of HTTP/2 answers with


def find_ray() -> str | None:
    """Returns the address of the cluster to join, or `local` to start one; None if there is no address, so Ray decides.

    A submitted job has RAY_ADDRESS, and its Ray must answer. Without RAY_ADDRESS, the stale address of a dead head is
    logged, and the answer is `local`. Raises RetryableError if the named Ray does not answer.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        return named
    try:
        address: str | None = services.get_ray_address_from_environment(named or None, None)
    except ConnectionError as error:
        raise RetryableError(
            f"RAY_ADDRESS is {named}, and no Ray runs here; start one, or set RAY_ADDRESS=local ({_line(error)})"
        ) from None
    if not address or address == "local" or (fault := find_fault(address)) is None:
        return address
    if named not in ("", "auto"):
        raise RetryableError(f"Ray at {address} does not answer: {fault}; is the head up?")
    stale = (
        f"no Ray answers at {address}: {fault} (a stale address in {get_ray_address_file(None)}); remove it or set "
        "RAY_ADDRESS=local"
    )
    if named == "auto":
        raise RetryableError(stale)
    log.warning("%s; a cluster of this job's own is started", stale)
    return "local"


def find_fault(address: str) -> str | None:
    """Returns why no Ray answers at `host:port`, None if Ray answers or if the address has no port.

    Ray's control store speaks gRPC, so it greets as a server of HTTP/2 does. Another program on the port does not, and
    neither does a Ray that hangs. With Ray's TLS it is enough that something listens.
    """
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not port.isdigit():
        return None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return None
            connection.sendall(GREETING)
            frame = connection.recv(9)
    except TimeoutError:
        return f"silent for {SECONDS:g} s"
    except OSError as error:
        return _line(error)
    return None if frame[3:4] == bytes([SETTINGS]) else "another program is there"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
