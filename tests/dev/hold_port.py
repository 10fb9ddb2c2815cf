"""Listens on a free port of 127.0.0.1 and prints its number; ends after a line on its standard input."""

import socket

with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    input()
