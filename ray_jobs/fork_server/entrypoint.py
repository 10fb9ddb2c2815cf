"""Has a fork server run the program that Python has just started, so that this process imports nothing heavy.

The programs of the stages call `run_forked` before their other imports. This process then waits: it passes signals on,
and ends as the forked process ends. To Ray and to a shell it is the job, with the job's process id, output and code.
"""

import os
import resource
import signal
import sys
from functools import partial

from ray_jobs.fork_server import client
from ray_jobs.fork_server.client import ForkedProcess, Program, Server

PASSED_ON = {
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT,
    signal.SIGWINCH,
}  # fmt: skip


def run_forked(kind: str = "driver") -> None:
    """Returns if no fork server runs the program: then this process is to run it. Else ends this process."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if client.own_server or client.is_off() or spec is None:
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    process: ForkedProcess | None = None
    try:
        server = Server.of_this_process(kind)
        program = Program(
            module=spec.name,
            arguments=sys.argv[1:],
            environment=dict(os.environ),
            folder=os.getcwd(),
            descriptors={0: 0, 1: 1, 2: 2},
            command=sys.orig_argv,
            blocked_signals=sorted(blocked),
            unbuffered=getattr(sys.stdout, "write_through", True),
        )
        client.own_server = server
        process = client.fork(server, program)
        if process:
            for number in PASSED_ON - blocked:
                if signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, partial(pass_on, process))
    except OSError:
        if process:
            raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if process:
        end_as(process.wait())


def pass_on(process: ForkedProcess, number: int, _: object) -> None:
    process.send_signal(number)


def end_as(code: int) -> None:
    """End this process with the exit code, or by the signal, with which the forked one ended."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        os.kill(os.getpid(), -code)
        code = 128 - code  # if the signal cannot end this process
    os._exit(code)
