"""A program that a fork server runs behaves, for its starter, as if Python had just started it."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from forking import SECONDS, Host, is_running, read_ids
from stage_jobs import wait_until

PER_PROCESS = {"pid", "parent", "random", "key of multiprocessing", "is group leader"}


def test_a_forked_process_has_all_from_its_client(host: Host) -> None:
    server = host.ready()
    host.environment |= {"OF_THIS_CLIENT": "é\n=", "ASSAY_X": "1", "AWS_SECRET_ACCESS_KEY": "hidden"}
    del host.environment["OF_THIS_CLIENT"]

    def prepare() -> None:
        os.umask(0o027)
        resource.setrlimit(resource.RLIMIT_NOFILE, (333, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGUSR2])

    forked = host.show(preexec_fn=prepare, options=("-u",))
    assert forked["parent"] == server
    host.environment["ASSAY_FORK_SERVER"] = "off"
    fresh = host.show(preexec_fn=prepare, options=("-u",))
    assert fresh["parent"] == os.getpid()
    for facts in (forked, fresh):
        facts["environment"].pop("ASSAY_FORK_SERVER")
        facts["from C"] = sorted(line for line in facts["from C"] if not line.startswith("ASSAY_FORK_SERVER="))
    assert {name: value for name, value in forked.items() if name not in PER_PROCESS} == {
        name: value for name, value in fresh.items() if name not in PER_PROCESS
    }
    assert forked["blocked"] == [signal.SIGINT, signal.SIGUSR2]


def test_two_forked_processes_share_no_state(host: Host) -> None:
    host.ready()
    first, second = host.show(), host.show()
    assert first["parent"] == second["parent"]
    for name in ("pid", "random", "key of multiprocessing"):
        assert first[name] != second[name]


def test_no_credential_reaches_the_server(host: Host) -> None:
    host.environment |= {"AWS_SECRET_ACCESS_KEY": "hidden-1", "JUDGE_API_KEY": "hidden-2", "RAY_AUTH_TOKEN": "hidden-3"}
    server = host.ready()
    facts = host.show()
    assert facts["parent"] == server
    assert facts["environment"]["AWS_SECRET_ACCESS_KEY"] == "hidden-1"
    assert b"hidden" not in Path(f"/proc/{server}/environ").read_bytes()
    assert not any(needle in _memory_of(server) for needle in (b"hidden-1", b"hidden-2", b"hidden-3"))


def _memory_of(process: int) -> bytes:
    """Returns the writable memory of the process."""
    content = b""
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", 0) as memory:
        for line in maps:
            if " rw" in line and "[v" not in line:
                start, end = (int(number, 16) for number in line.split()[0].split("-"))
                memory.seek(start)
                content += memory.read(end - start)
    return content


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("exit", "0"), 0), (("exit", "3"), 3), (("text",), 1), (("raise",), 1), (("die", "15"), -15), (("die", "9"), -9)],
)
def test_exit_codes_are_those_of_the_program(host: Host, arguments: tuple[str, ...], code: int) -> None:
    host.ready()
    forked_code, forked_output = host.run(*arguments)
    host.environment["ASSAY_FORK_SERVER"] = "off"
    fresh_code, fresh_output = host.run(*arguments)
    assert forked_code == fresh_code == code
    assert forked_output.splitlines()[-1:] == fresh_output.splitlines()[-1:]


@pytest.mark.parametrize("options", [(), ("-u",)])
def test_output_comes_in_the_same_order(host: Host, options: tuple[str, ...]) -> None:
    server = host.ready()
    forked = host.run("lines", options=options)
    assert host.find_servers() == [server]
    host.environment["ASSAY_FORK_SERVER"] = "off"
    assert forked == host.run("lines", options=options)
    assert forked[1].count("\n") == 900


def test_input_reaches_the_program(host: Host) -> None:
    host.ready()
    run = subprocess.run(
        [sys.executable, "-m", "forked_program", "input"],
        env=host.environment, cwd=host.folder, input="typed\n", capture_output=True, text=True,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (0, "TYPED\n")


@pytest.mark.parametrize("politely", [False, True])
def test_a_signal_to_the_client_reaches_the_program(host: Host, tmp_path: Path, politely: bool) -> None:
    host.ready()
    client = host.start("wait", str(tmp_path / "ids"), *(["politely"] if politely else []))
    [process] = read_ids(tmp_path / "ids")
    assert process != client.pid
    client.send_signal(signal.SIGTERM)
    assert client.wait(SECONDS) == (7 if politely else -signal.SIGTERM)
    assert not is_running(process)


def test_a_killed_client_takes_the_process_and_its_group_with_it(host: Host, tmp_path: Path) -> None:
    server = host.ready()
    client = host.start("fork", str(tmp_path / "ids"))
    processes = read_ids(tmp_path / "ids")
    assert len(processes) == 3
    assert all(map(is_running, processes))
    os.kill(server, signal.SIGSTOP)  # the kernel does it, not the server
    client.kill()
    wait_until(lambda: not any(map(is_running, processes)), SECONDS)
    os.kill(server, signal.SIGCONT)


def test_a_killed_process_ends_its_client_by_the_same_signal(host: Host, tmp_path: Path) -> None:
    host.ready()
    client = host.start("wait", str(tmp_path / "ids"))
    [process] = read_ids(tmp_path / "ids")
    os.kill(process, signal.SIGKILL)
    assert client.wait(SECONDS) == -signal.SIGKILL


def test_a_process_outlives_a_killed_server_and_keeps_its_exit_code(host: Host, tmp_path: Path) -> None:
    server = host.ready()
    client = host.start("wait", str(tmp_path / "ids"), "politely")
    [process] = read_ids(tmp_path / "ids")
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not is_running(server), SECONDS)
    assert is_running(process)
    client.send_signal(signal.SIGTERM)
    assert client.wait(SECONDS) == 7
