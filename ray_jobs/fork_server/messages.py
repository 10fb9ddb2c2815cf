"""Sends and receives one message, with descriptors, over the connection between a client and a fork server.

The socket keeps messages whole (SOCK_SEQPACKET), so a message is never received in part. A message is a few words.
Longer content, such as an environment, is in a file in memory whose descriptor the message carries.
"""

import select
import socket
import struct
import time
from collections.abc import Sequence

MESSAGE_BYTES = 256
MAX_DESCRIPTORS = 64


class NoMessage(Exception):
    """The peer has closed the connection, or said nothing in time."""


def send(connection: socket.socket, words: str, descriptors: Sequence[int] = ()) -> None:
    """Send a message without waiting. Raises OSError if the peer is gone or its queue is full."""
    socket.send_fds(connection, [words.encode()], descriptors, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)


def receive(connection: socket.socket, seconds: float | None) -> tuple[list[str], list[int]]:
    """Returns the words and the descriptors of the next message. Raises NoMessage.

    Waits at most `seconds`, or as long as the connection lives if None.
    """
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not waiting.poll(left):
            raise NoMessage("silent")
        try:
            content, descriptors, _, _ = socket.recv_fds(
                connection, MESSAGE_BYTES, MAX_DESCRIPTORS, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            continue
        except ConnectionError as error:
            raise NoMessage("closed") from error
        if not content:
            raise NoMessage("closed")
        return content.decode(errors="replace").split(), descriptors


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Returns the process id and the user id of the process at the other end, as the kernel knows them."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    process, user, _ = struct.unpack("3i", credentials)
    return process, user
