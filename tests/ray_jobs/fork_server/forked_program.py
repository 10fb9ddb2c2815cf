"""The program that the tests of the fork server run: `python -m forked_program STEP ARGUMENT...`."""

if __name__ == "__main__":
    import os

    from ray_jobs.fork_server.entrypoint import run_forked

    run_forked(os.environ.get("KIND_OF_TEST", "bare"))

import importlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def show() -> None:
    """Print all that a forked process must have from its client."""
    import multiprocessing

    print(
        json.dumps(
            {
                "environment": dict(os.environ),
                "from C": subprocess.run(["/usr/bin/env"], capture_output=True, text=True).stdout.splitlines(),
                "folder": os.getcwd(),
                "arguments": sys.argv[1:],
                "program": os.path.basename(sys.argv[0]),
                "command": sys.orig_argv[-4:],
                "path": sys.path,
                "umask": os.umask(0),
                "files": resource.getrlimit(resource.RLIMIT_NOFILE),
                "core": resource.getrlimit(resource.RLIMIT_CORE),
                "nice": os.getpriority(os.PRIO_PROCESS, 0),
                "cores": sorted(os.sched_getaffinity(0)),
                "main": [sys.modules["__main__"].__spec__.name, show.__module__],  # type: ignore[union-attr]
                "threads": threading.active_count(),
                "is main thread": threading.current_thread() is threading.main_thread(),
                "descriptors": sorted(
                    int(name)
                    for name in os.listdir("/proc/self/fd")
                    if os.path.exists(f"/proc/self/fd/{name}") and os.get_inheritable(int(name))
                ),
                "ignores hang-up": signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,
                "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
                "is group leader": os.getpgrp() == os.getpid(),
                "random": random.random(),
                "key of multiprocessing": bytes(multiprocessing.current_process().authkey).hex(),
                "pid": os.getpid(),
                "parent": os.getppid(),
            }
        )
    )


def join_ray(name: str) -> None:
    """Print what a task of this program's own module answers, which a worker must find."""
    import ray

    def answer(of: str) -> str:
        return f"{of} of {__name__}"

    ray.init(logging_level="WARNING", log_to_driver=False)
    result = ray.get(ray.remote(answer).remote(name))
    metadata = ray.get_runtime_context().get_job_id()
    print(json.dumps({"parent": os.getppid(), "answer": result, "job": metadata}))


def main(step: str, *arguments: str) -> None:
    match step:
        case "show":
            show()
        case "exit":
            sys.exit(int(arguments[0]))
        case "text":
            sys.exit("ended with a text")
        case "raise":
            raise RuntimeError("of the program")
        case "die":
            os.kill(os.getpid(), int(arguments[0]))
        case "lines":
            for number in range(300):
                print(f"{number} out")
                print(f"{number} err", file=sys.stderr)
                os.write(1, f"{number} raw\n".encode())
        case "fork":  # a process in the same group, and a process that has executed another program
            child = os.fork()
            if child == 0:
                time.sleep(600)
            sleeper = subprocess.Popen(["/bin/sleep", "600"])
            Path(arguments[0]).write_text(f"{os.getpid()} {child} {sleeper.pid}")
            time.sleep(600)
        case "wait":
            if "politely" in arguments:
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
            Path(arguments[0]).write_text(str(os.getpid()))
            time.sleep(600)
        case "id":
            print(importlib.import_module("ray").UniqueID.from_random().hex())
        case "ray":
            join_ray(arguments[0])
        case "input":
            print(input().upper())
        case "constant":  # of a module that the test writes
            print(importlib.import_module("edited_module").VALUE)


if __name__ == "__main__":
    main(*sys.argv[1:])
