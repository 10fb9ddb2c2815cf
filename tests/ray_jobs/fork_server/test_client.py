"""A client whose server does not answer, or cannot do what it asks, goes on without it."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from forking import SECONDS, Host, is_running, shorten_name
from stage_jobs import wait_until


@pytest.mark.parametrize("answer", [None, b"ready", b"ready x", b"nonsense", b"\xff", b"ready 1"])
def test_a_strange_answer_costs_a_bounded_wait(host: Host, answer: bytes | None) -> None:
    """From a process of the same user that has the server's place. None: it accepts nothing and answers nothing."""
    server = host.ready()
    [name] = host.sockets.glob("*.sock")
    os.kill(server, signal.SIGKILL)
    name.unlink()
    script = Path(__file__).with_name("strange_server.py")
    with shorten_name(host.sockets) as folder:
        strange = subprocess.Popen(
            ["python3", str(script), f"{folder}/{name.name}", (answer or b"").hex()],
            pass_fds=[int(folder.rpartition("/")[2])],
        )
    try:
        wait_until(name.exists, SECONDS)
        wait_until(lambda: bool(host.find_servers()), SECONDS)
        client = host.start("show")
        assert client.wait(SECONDS) == 0
        assert client.stdout
        # The strange server has the client's output too, so the output does not end.
        assert json.loads(client.stdout.readline())["parent"] == os.getpid()
        if answer is None:
            assert strange.wait(SECONDS) == -signal.SIGKILL  # so the next client can start another
    finally:
        strange.kill()
        strange.wait()


def test_a_stopped_server_is_replaced(host: Host) -> None:
    server = host.ready()
    os.kill(server, signal.SIGSTOP)
    assert host.show()["parent"] == os.getpid()
    wait_until(lambda: host.find_servers() not in ([], [server]), SECONDS)
    assert host.show()["parent"] in host.find_servers()


def test_a_killed_server_is_replaced(host: Host) -> None:
    server = host.ready()
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not is_running(server), SECONDS)
    assert host.show()["parent"] == os.getpid()
    wait_until(lambda: host.find_servers() not in ([], [server]), SECONDS)
    assert host.show()["parent"] in host.find_servers()


def test_a_full_queue_is_not_waited_for(host: Host) -> None:
    server = host.ready()
    os.kill(server, signal.SIGSTOP)
    [name] = host.sockets.glob("*.sock")
    connections, error = [], 0
    with shorten_name(host.sockets) as folder:
        while not error:
            connections.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            connections[-1].setblocking(False)
            error = connections[-1].connect_ex(f"{folder}/{name.name}")
    assert error == errno.EAGAIN
    assert host.show()["parent"] == os.getpid()
    assert is_running(server)  # which is only busy, as far as the client knows
    for connection in connections:
        connection.close()


def test_a_folder_that_is_gone_is_the_clients_own_fault(host: Host) -> None:
    """The forked process cannot enter the client's folder, so the client runs the program."""
    host.ready()
    gone = host.folder / "gone"
    gone.mkdir()

    def prepare() -> None:
        os.chdir(gone)
        shutil.rmtree(gone)

    code, output = host.run("exit", "5", preexec_fn=prepare)
    assert (code, output) == (5, "")
