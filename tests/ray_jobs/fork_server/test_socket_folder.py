"""What other users of the machine cannot do with a server, its folder or its sockets."""

import os
import signal
import socket
from pathlib import Path

import pytest
from forking import SECONDS, Host, shorten_name


@pytest.mark.parametrize("fault", ["link", "mode", "file", "missing", "owner"])
def test_an_unsafe_folder_is_not_used(host: Host, tmp_path: Path, fault: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    if fault == "link":
        host.sockets.symlink_to(elsewhere)
    elif fault == "mode":
        host.sockets.mkdir(0o700)
        host.sockets.chmod(0o770)
    elif fault == "file":
        host.sockets.write_text("")
    elif fault == "missing":
        host.environment["TMPDIR"] = str(tmp_path / "missing")
    else:
        if os.getuid():
            pytest.skip("only root can give a folder to another user")
        host.sockets.mkdir(0o700)
        os.chown(host.sockets, 12345, 12345)
    assert host.show()["parent"] == os.getpid()
    assert list(elsewhere.iterdir()) == []
    assert fault in ("missing", "file") or list(host.sockets.iterdir()) == []


def test_another_users_server_is_not_trusted(host: Host) -> None:
    """The kernel tells the client whose process listens, whatever the folder says."""
    if os.getuid():
        pytest.skip("only root can listen as another user")
    server = host.ready()
    [name] = host.sockets.glob("*.sock")
    os.kill(server, signal.SIGKILL)
    name.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with shorten_name(host.sockets) as folder:
        listener.bind(f"{folder}/{name.name}")
    os.setegid(12345)
    os.seteuid(12345)
    try:
        listener.listen(8)  # from here on the kernel names this user
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert host.show()["parent"] == os.getpid()
    listener.settimeout(SECONDS)
    connection, _ = listener.accept()
    assert connection.recv(100) == b""  # the client sent it nothing
    listener.close()


def test_a_client_of_another_user_is_turned_away(host: Host) -> None:
    if os.getuid():
        pytest.skip("only root can connect as another user")
    server = host.ready()
    [name] = host.sockets.glob("*.sock")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with shorten_name(host.sockets) as folder:
        host.sockets.chmod(0o755)
        name.chmod(0o777)
        for above in host.sockets.parents:
            assert above.exists()
        child = os.fork()
        if child == 0:
            code = 3
            try:
                os.setgid(12345)
                os.setuid(12345)
                connection.connect(f"{folder}/{name.name}")
                connection.settimeout(SECONDS)
                code = 0 if connection.recv(100) == b"" else 4
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    host.sockets.chmod(0o700)
    assert host.show()["parent"] == server
