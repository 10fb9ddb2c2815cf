"""When a server forks, when a client does without it, and when a server starts and ends."""

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from forking import SECONDS, Host, find_processes, is_running, read_ids
from stage_jobs import wait_until


def test_many_clients_at_once_start_one_server(host: Host) -> None:
    clients = [host.start("show") for _ in range(16)]
    facts = [json.loads(client.communicate(timeout=SECONDS)[0]) for client in clients]
    assert len({fact["pid"] for fact in facts}) == 16
    wait_until(lambda: bool(host.find_servers()), SECONDS)
    [server] = host.find_servers()
    # The text of a server's command line also is in the shell that starts it; that has ended.
    wait_until(lambda: find_servers_by_command(host) == [server], SECONDS)


def find_servers_by_command(host: Host) -> list[int]:
    return find_processes(lambda text: str(host.folder) in text and "fork_server import server" in text)


def test_a_server_forks_for_many_clients_at_once(host: Host) -> None:
    server = host.ready()
    clients = [host.start("show") for _ in range(16)]
    facts = [json.loads(client.communicate(timeout=SECONDS)[0]) for client in clients]
    assert {fact["parent"] for fact in facts} == {server}
    assert len({fact["random"] for fact in facts}) == 16


def test_changed_code_is_never_run_from_a_server(host: Host) -> None:
    """Neither from the server that has loaded it, nor from the next server."""
    (host.folder / "edited_module.py").write_text("VALUE = 'first'\n")
    host.environment["KIND_OF_TEST"] = "edited_module"
    server = host.ready()
    assert host.run("constant") == (0, "first\n")
    assert host.find_servers() == [server]
    (host.folder / "edited_module.py").write_text("VALUE = 'the other'\n")
    assert host.run("constant") == (0, "the other\n")
    wait_until(lambda: not is_running(server), SECONDS)
    wait_until(lambda: bool(host.find_servers()), SECONDS)  # the client has started it
    assert host.run("constant") == (0, "the other\n")
    assert host.show()["parent"] in host.find_servers()


@pytest.mark.slow
def test_drivers_draw_different_ids_from_ray(host: Host) -> None:
    """Two that drew the same ids would write the same objects of Ray's store."""
    host.environment["KIND_OF_TEST"] = "driver"
    server = host.ready()
    answers = [host.run("id") for _ in range(3)]
    assert host.find_servers() == [server]
    assert {code for code, _ in answers} == {0}
    assert len({output for _, output in answers}) == 3


def test_what_an_import_sets_is_there_in_the_forked_process(host: Host) -> None:
    """Variables and entries of the search path, as Ray and vLLM set some when they are imported."""
    (host.folder / "edited_module.py").write_text(
        "import os, sys\nos.environ['SET_BY_IMPORT'] = 'yes'\nsys.path.insert(0, '/added')\nVALUE = os.getcwd()\n"
    )
    host.environment["KIND_OF_TEST"] = "edited_module"
    server = host.ready()
    facts = host.show()
    assert facts["parent"] == server
    assert facts["environment"]["SET_BY_IMPORT"] == "yes"
    assert facts["path"][:2] == ["/added", str(host.folder)]
    assert host.run("constant") == (0, f"{host.folder}\n")


def test_a_file_written_while_the_server_loads_ends_the_server(host: Host) -> None:
    (host.folder / "edited_module.py").write_text(
        "import pathlib, time\nVALUE = 'first'\ntime.sleep(0.1)\npathlib.Path(__file__).touch()\n"
    )
    host.environment["KIND_OF_TEST"] = "edited_module"
    assert host.run("exit", "0") == (0, "")
    wait_until(lambda: bool(host.find_logs()), SECONDS)
    wait_until(lambda: not find_servers_by_command(host), SECONDS)
    assert "edited_module.py was written while it was loaded" in host.read_log()
    assert host.find_servers() == []


def test_a_server_that_cannot_import_is_not_started_again_at_once(host: Host) -> None:
    (host.folder / "edited_module.py").write_text("raise ImportError('broken')\n")
    host.environment["KIND_OF_TEST"] = "edited_module"
    assert host.run("exit", "3") == (3, "")
    wait_until(lambda: bool(list(host.sockets.glob("*.failed"))), SECONDS)
    wait_until(lambda: not find_servers_by_command(host), SECONDS)
    [failed] = host.sockets.glob("*.failed")
    tried_at = failed.stat().st_mtime_ns
    assert host.run("exit", "3") == (3, "")
    assert find_servers_by_command(host) == []
    assert failed.stat().st_mtime_ns == tried_at


def test_a_server_with_two_threads_forks_nothing(host: Host) -> None:
    (host.folder / "edited_module.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    host.environment["KIND_OF_TEST"] = "edited_module"
    assert host.run("exit", "3") == (3, "")
    wait_until(lambda: bool(list(host.sockets.glob("*.failed"))), SECONDS)
    assert "Unfit: 2 threads" in host.read_log()


@pytest.mark.parametrize(
    "change",
    [
        {"LANG": "C.UTF-8"}, {"OMP_NUM_THREADS": "1"}, {"VLLM_ANYTHING": "1"}, {"PYTHONPATH": "/nowhere"},
        {"PYTHONHASHSEED": "1"}, {"RAY_ANYTHING": "1"},
    ],
)  # fmt: skip
def test_what_an_import_may_read_needs_another_server(host: Host, change: dict[str, str]) -> None:
    server = host.ready()
    if "PYTHONPATH" in change:
        change = {"PYTHONPATH": f"{host.environment['PYTHONPATH']}:{change['PYTHONPATH']}"}
    host.environment |= change
    assert host.show()["parent"] == os.getpid()
    wait_until(lambda: len(host.find_servers()) == 2, SECONDS)
    assert host.show()["parent"] in set(host.find_servers()) - {server}


@pytest.mark.parametrize("what", ["limit", "nice", "umask"])
def test_what_a_process_cannot_change_needs_another_server(host: Host, what: str) -> None:
    import resource

    def prepare() -> None:
        if what == "limit":
            resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
        elif what == "nice":
            os.nice(1)
        else:
            os.umask(0o027)

    server = host.ready()
    parent = host.show(preexec_fn=prepare)["parent"]
    assert (parent == server) == (what == "umask")


def test_nothing_is_started_when_it_is_off(host: Host) -> None:
    host.environment["ASSAY_FORK_SERVER"] = "off"
    assert host.show()["parent"] == os.getpid()
    assert not host.sockets.exists()


def test_off_holds_with_a_server_running(host: Host) -> None:
    server = host.ready()
    host.environment["ASSAY_FORK_SERVER"] = "off"
    assert host.show()["parent"] == os.getpid()
    assert host.find_servers() == [server]


def test_only_a_job_of_ray_starts_a_server_unasked(host: Host) -> None:
    del host.environment["ASSAY_FORK_SERVER"]
    assert host.run("exit", "0") == (0, "")
    assert list(host.sockets.glob("*")) == []
    host.environment["RAY_JOB_CONFIG_JSON_ENV_VAR"] = "{}"
    server = host.ready()
    host.environment["RAY_JOB_CONFIG_JSON_ENV_VAR"] = '{"of": "another job"}'
    assert host.show()["parent"] == server


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
    with _short_name(host.sockets) as folder:
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


class _short_name:
    """A name of the folder that is short enough for a socket's address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> str:
        self.descriptor = os.open(self.folder, os.O_RDONLY)
        return f"/proc/self/fd/{self.descriptor}"

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


def test_a_client_of_another_user_is_turned_away(host: Host) -> None:
    if os.getuid():
        pytest.skip("only root can connect as another user")
    server = host.ready()
    [name] = host.sockets.glob("*.sock")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _short_name(host.sockets) as folder:
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


@pytest.mark.parametrize("answer", [None, b"ready", b"ready x", b"nonsense", b"\xff", b"ready 1"])
def test_a_strange_answer_costs_a_bounded_wait(host: Host, answer: bytes | None) -> None:
    """From a process of the same user that has the server's place. None: it accepts nothing and answers nothing."""
    server = host.ready()
    [name] = host.sockets.glob("*.sock")
    os.kill(server, signal.SIGKILL)
    name.unlink()
    script = Path(__file__).with_name("strange_server.py")
    with _short_name(host.sockets) as folder:
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
    with _short_name(host.sockets) as folder:
        while not error:
            connections.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            connections[-1].setblocking(False)
            error = connections[-1].connect_ex(f"{folder}/{name.name}")
    assert error == errno.EAGAIN
    assert host.show()["parent"] == os.getpid()
    assert is_running(server)  # which is only busy, as far as the client knows
    for connection in connections:
        connection.close()


def test_clients_that_say_nothing_do_not_stop_a_server(host: Host) -> None:
    server = host.ready()
    [name] = host.sockets.glob("*.sock")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _short_name(host.sockets) as folder:
        connection.connect(f"{folder}/{name.name}")
    assert host.show()["parent"] == server
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


def test_a_server_ends_with_the_raylet_below_which_it_was_started(host: Host) -> None:
    raylet = host.folder / "raylet"
    shutil.copy("/bin/sh", raylet)
    client = [os.sys.executable, "-m", "forked_program", "exit", "0"]  # type: ignore[attr-defined]
    head = subprocess.Popen(
        [str(raylet), "-c", '"$@"; read line', "raylet", *client],
        env=host.environment, cwd=host.folder, stdin=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: bool(host.find_servers()), SECONDS)
    [server] = host.find_servers()
    head.communicate(b"\n")
    wait_until(lambda: not is_running(server), SECONDS)


def test_an_idle_server_ends_and_leaves_no_file(host: Host) -> None:
    host.environment["ASSAY_FORK_SERVER_SECONDS"] = "1"
    server = host.ready()
    wait_until(lambda: not is_running(server), SECONDS)
    assert list(host.sockets.iterdir()) == []


def test_a_server_with_a_process_is_not_idle(host: Host, tmp_path: Path) -> None:
    host.environment["ASSAY_FORK_SERVER_SECONDS"] = "1"
    server = host.ready()
    client = host.start("wait", str(tmp_path / "ids"))
    [process] = read_ids(tmp_path / "ids")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 2, SECONDS)
    assert host.find_servers() == [server]
    client.kill()
    wait_until(lambda: not is_running(process) and not is_running(server), SECONDS)


def test_a_lock_that_is_held_starts_nothing(host: Host) -> None:
    server = host.ready()
    [lock] = host.sockets.glob("*.lock")
    with lock.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert host.find_servers() == [server]
