"""Starts and ends the processes of the local stack, which supervisord keeps running, and reads their states."""

import os
import signal
import subprocess
import sys
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from dev import ports
from dev.settings import MARK, REPO, Settings, environment

AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
PROGRAMS = ("ray", *AIRFLOW)
OBJECT_STORE_BYTES = 1024**3


class StackError(Exception):
    """The stack cannot do what a command wants. `dev.stack` prints the message."""


def supervisor(settings: Settings) -> Any:
    """The interface of the running supervisord; None when none runs."""
    proxy = ServerProxy("http://localhost", SupervisorTransport(None, None, f"unix://{settings.socket}"))
    try:
        proxy.supervisor.getState()
    except (OSError, HTTPException, Fault):
        return None
    return proxy.supervisor


def ensure_supervisor(settings: Settings) -> Any:
    """The interface of supervisord, which is started without programs when none runs."""
    if interface := supervisor(settings):
        return interface
    (settings.run / "logs").mkdir(parents=True, exist_ok=True)
    config = settings.run / "supervisor.conf"
    config.write_text(_build_config(settings))
    command = [str(settings.control / "bin" / "supervisord"), "-c", str(config)]
    subprocess.run(command, env=environment(settings), cwd=REPO, check=True, stdout=subprocess.DEVNULL)
    for _ in range(100):
        if interface := supervisor(settings):
            return interface
        time.sleep(0.1)
    raise StackError(f"supervisord does not answer; see {settings.logs('supervisord')}")


def start(settings: Settings, *programs: str) -> None:
    """Start those of the programs that do not run. Raises StackError when a port one of them needs is taken."""
    interface = ensure_supervisor(settings)
    for program in programs:
        if interface.getProcessInfo(program)["statename"] in ("RUNNING", "STARTING", "BACKOFF"):
            continue
        _check_ports(settings, program)
        interface.startProcess(program, False)


def stop(settings: Settings, *programs: str, wait: bool = True) -> None:
    interface = supervisor(settings)
    for program in programs if interface else ():
        if interface.getProcessInfo(program)["statename"] in ("RUNNING", "STARTING", "BACKOFF"):
            interface.stopProcess(program, wait)


def states(settings: Settings) -> dict[str, str]:
    """`RUNNING, pid 123, uptime 0:01:02` and the like, by program."""
    interface = supervisor(settings)
    if interface is None:
        return dict.fromkeys(PROGRAMS, "not started")
    return {info["name"]: f"{info['statename']} {info['description']}" for info in interface.getAllProcessInfo()}


def check_alive(settings: Settings, *programs: str) -> None:
    """Raises StackError with the end of the log of a program that supervisord has given up on."""
    for program, state in states(settings).items():
        if program in programs and state.startswith(("FATAL", "EXITED")):
            log = settings.logs(program)
            tail = log.read_text(errors="replace").strip().splitlines()[-15:] if log.exists() else []
            raise StackError("\n".join([f"{program} does not start; the end of {log}:", *tail]))


def down(settings: Settings) -> int:
    """End every process of the stack. Returns the number of processes that had outlived their killed parent."""
    pids_of_session = session(settings)
    if interface := supervisor(settings):
        pid = interface.getPID()
        stop(settings, *PROGRAMS, wait=False)  # all at once, because `shutdown` ends one after the other
        interface.shutdown()
        _await_end([pid], 60)
    leftovers = sorted({pid for pid in pids_of_session if _exists(pid)} | set(_list_stack_pids(settings)))
    for sign in (signal.SIGTERM, signal.SIGKILL):
        remaining = [pid for pid in leftovers if _exists(pid)]
        for pid in remaining:
            _signal(pid, sign)
        _await_end(remaining, 10)
    return len(leftovers)


def _build_config(settings: Settings) -> str:
    lines = [
        f"[unix_http_server]\nfile={settings.socket}\nchmod=0700",
        f"[supervisord]\nlogfile={settings.logs('supervisord')}\npidfile={settings.run}/supervisord.pid\nminfds=1024",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for program in PROGRAMS:
        command, env = _build_command(settings, program)
        lines.append(
            f"[program:{program}]\ncommand={' '.join(command)}\ndirectory={REPO}\n"
            f'environment=PATH="{env / "bin"}:{os.environ["PATH"]}"\n'
            f"autostart=false\nautorestart=true\nstartsecs=10\nstartretries=3\nstopwaitsecs=20\n"
            f"stopasgroup=true\nkillasgroup=true\nredirect_stderr=true\nstdout_logfile={settings.logs(program)}\n"
            "stdout_logfile_maxbytes=20MB\nstdout_logfile_backups=1"
        )
    return "\n\n".join(lines).replace("%", "%%") + "\n"


def _build_command(settings: Settings, program: str) -> tuple[list[str], Path]:
    airflow, port = str(settings.control / "bin" / "airflow"), settings.ray_port
    if program == "ray":
        ray = [
            f"{settings.data / 'bin' / 'ray'} start --head --block --disable-usage-stats --log-style record",
            f"--node-ip-address 127.0.0.1 --dashboard-host 127.0.0.1 --dashboard-port {port} --port {port + 1}",
            f"--dashboard-agent-listen-port {port + 2} --ray-client-server-port {port + 3}",
            f"--num-cpus {settings.ray_cpus} --object-store-memory {OBJECT_STORE_BYTES}",
            f"--temp-dir {settings.ray_temp} --min-worker-port 0 --max-worker-port 0",
        ]
        return ray, settings.data
    flags = {
        "api-server": ["--host 127.0.0.1", f"--port {settings.airflow_port}", "--workers 1"],
        "scheduler": ["--skip-serve-logs"],  # those servers listen on every interface
        "triggerer": ["--skip-serve-logs"],
    }
    return [airflow, program, *flags.get(program, [])], settings.control


def _check_ports(settings: Settings, program: str) -> None:
    wanted = {
        "ray": [(settings.ray_port + step, "ASSAY_RAY_PORT") for step in range(4)],
        "api-server": [(settings.airflow_port, "ASSAY_AIRFLOW_PORT")],
    }
    for port, variable in wanted.get(program, []):
        if ports.is_taken(port):
            holder = ports.describe_holder(port)
            first = f" (it is one of four: {settings.ray_port} to {settings.ray_port + 3})" if program == "ray" else ""
            raise StackError(
                f"port {port} for {program} is taken by {holder}; end it, or set {variable} to another one{first}"
            )


def _list_stack_pids(settings: Settings) -> list[int]:
    """Processes with this stack's mark in their environment, by Linux's /proc; never this one."""
    mark = f"{MARK}={settings.run}".encode()
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    pids.append(int(entry.name))
            except OSError:  # gone, or another user's
                continue
    return pids


def session(settings: Settings) -> list[int]:
    """Processes in supervisord's session, which outlives supervisord.

    Airflow's processes write their title over their environment, so `_list_stack_pids` does not see them.
    """
    pidfile = settings.run / "supervisord.pid"
    leader = int(pidfile.read_text()) if pidfile.exists() else 0
    command = Path(f"/proc/{leader}/cmdline")
    if not leader or (command.exists() and str(settings.run).encode() not in command.read_bytes()):
        return []  # another process has this pid now
    pids = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [int(entry.name) for entry in pids if _read_session_id(entry) == leader]


def _read_session_id(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[3])
    except OSError:
        return 0


def _await_end(pids: list[int], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while any(_exists(pid) for pid in pids) and time.monotonic() < limit:
        time.sleep(0.1)


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _signal(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        print(f"cannot end process {pid}: {error}", file=sys.stderr)
