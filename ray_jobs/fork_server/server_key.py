"""Computes the key of the fork server that can fork a process for this one.

The key is a hash of all that a forked process takes over from the server and cannot change afterwards: the interpreter,
the search path, the variables that an import may read, and what the kernel fixed (user, capabilities, namespaces,
cgroup, hard limits). Clients with different keys have different servers.
"""

import hashlib
import json
import os
import re
import resource
import sys
from collections.abc import Mapping

VERSION = 1  # of the protocol between client and server

# Variables that differ from job to job. They are read when a job runs, and by no import.
PER_JOB = {
    "RAY_JOB_CONFIG_JSON_ENV_VAR", "PYTEST_CURRENT_TEST", "PWD", "OLDPWD", "SHLVL", "_", "PYTHONUNBUFFERED",
}  # fmt: skip
RUN_TIME_PREFIXES = ("AWS_", "ASSAY_")
STACK_MARK = "ASSAY_STACK"  # by which `make down` recognises the processes of a local stack
SECRET = re.compile(r"(^|_)(KEY|KEYS|TOKEN|TOKENS|SECRET|SECRETS|PASSWORD|PASSWD|CREDENTIAL|CREDENTIALS)(_|$)")
STATUS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that an import may read. No credentials, and nothing that differs from job to job."""
    return {name: value for name, value in environment.items() if not _is_left_out(name)}


def key_of(kind: str, environment: Mapping[str, str], path: list[str]) -> str:
    """Returns the key, 32 hexadecimal digits. `path` is the search path for modules."""
    content = {
        "version": VERSION,
        "kind": kind,
        "interpreter": [sys.executable, sys.prefix, sys.version, list(sys.flags), sys.warnoptions, sys._xoptions, path],
        "environment": server_environment(environment),
        "process": _read_kernel_state(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _is_left_out(name: str) -> bool:
    if name == STACK_MARK:
        return False
    return name in PER_JOB or name.startswith(RUN_TIME_PREFIXES) or bool(SECRET.search(name.upper()))


def _read_kernel_state() -> list[object]:
    limits = [resource.getrlimit(what)[1] for what in sorted(_list_limits().values())]
    root = os.stat("/")
    return [
        {name: value for name, value in read_status().items() if name in STATUS},
        [os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES],
        _read("/proc/self/cgroup"),
        _read("/proc/self/oom_score_adj"),
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getscheduler(0),
        limits,
        [root.st_dev, root.st_ino],
    ]


def read_status() -> dict[str, str]:
    """Returns what the kernel tells about this process, by name."""
    lines = (line.partition(":") for line in _read("/proc/self/status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def soft_limits() -> dict[str, int]:
    """Returns the soft limits of this process by name, such as RLIMIT_NOFILE."""
    return {name: resource.getrlimit(what)[0] for name, what in _list_limits().items()}


def _list_limits() -> dict[str, int]:
    return {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
