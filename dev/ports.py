"""Finds the process that holds a port of this machine. `dev.processes` names it in its error lines."""

import socket

import psutil

from ray_jobs.inputs.names import printable

COMMAND_CHARACTERS = 120


def is_taken(port: int) -> bool:
    """True if no server of ours can listen on this port of 127.0.0.1."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def describe_holder(port: int) -> str:
    """`process 123 (python -m http.server)`, or `a process of another user`, which only root can see."""
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
