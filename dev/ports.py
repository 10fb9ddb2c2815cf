"""Who holds a port of this machine, for a line that a person can act on."""

import socket

import psutil

from ray_jobs.inputs.names import printable

COMMAND_CHARACTERS = 120


def is_taken(port: int) -> bool:
    """Whether no server of ours could listen on this port of 127.0.0.1."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def describe_holder(port: int) -> str:
    """`process 123 (python -m http.server)`, or that it is not this user's, which only root may see."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        connections = []
    pids = {
        connection.pid
        for connection in connections
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    } or {connection.pid for connection in connections if connection.laddr and connection.laddr.port == port}
    for pid in sorted(pid for pid in pids if pid):
        try:
            command = " ".join(psutil.Process(pid).cmdline()) or psutil.Process(pid).name()
        except psutil.Error:
            command = "ended meanwhile"
        return f"process {pid} ({printable(command, COMMAND_CHARACTERS)})"
    return "a process of another user"
