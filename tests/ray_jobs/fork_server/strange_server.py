"""Takes the place of a fork server, and answers each client with the bytes of the second argument, in hexadecimal.

Without bytes it accepts no client.
"""

import signal
import socket
import sys
from contextlib import suppress

listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen(8)
answer = bytes.fromhex(sys.argv[2])
connections = []
while not answer:
    signal.pause()
while True:
    connection, _ = listener.accept()
    connections.append(connection)
    with suppress(BrokenPipeError):  # from a test that has only looked
        connection.send(answer)
