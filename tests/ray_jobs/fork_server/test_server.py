"""When a server forks, when a client does without it, and when a server starts and ends."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from forking import SECONDS, Host, find_processes, is_running, read_ids, shorten_name
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


def test_clients_that_say_nothing_do_not_stop_a_server(host: Host) -> None:
    server = host.ready()
    [name] = host.sockets.glob("*.sock")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with shorten_name(host.sockets) as folder:
        connection.connect(f"{folder}/{name.name}")
    assert host.show()["parent"] == server
    connection.close()


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
