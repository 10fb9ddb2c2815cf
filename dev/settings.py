"""The settings of the local stack: its folders, ports, secrets, and the environment of its processes.

`Settings` names the variables that change them; the defaults keep everything below `.assay`.
"""

import base64
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import uris

REPO = Path(__file__).resolve().parent.parent
MARK = "ASSAY_STACK"  # in the environment of every process of a stack, so that `down` recognises its own
# Airflow's login by user, with the role of each. Tasks write the notes of runs as `assay`.
USERS = {"admin": "admin", "op": "op", "viewer": "viewer", "assay": "user"}
SOCKET_PATH_LIMIT = 100  # the kernel allows 107 bytes
RAY_TEMP_LIMIT = 40  # Ray appends a session name and a socket name


def _read_setting(name: str, default: Any, read: Callable[[str], Any]) -> Any:
    """A field whose default is read from an environment variable when `Settings` is built."""
    return field(default_factory=lambda: read(os.environ.get(name, str(default))))


def _path(text: str) -> Path:
    return Path(text).absolute()


@dataclass(frozen=True)
class Settings:
    run: Path = _read_setting("ASSAY_RUN_DIR", REPO / ".assay" / "run", _path)  # noqa: RUF009
    control: Path = _read_setting("ASSAY_CONTROL_ENV", REPO / ".assay" / "control", _path)  # noqa: RUF009
    data: Path = _read_setting("ASSAY_DATA_ENV", REPO / ".assay" / "data", _path)  # noqa: RUF009
    root: str = _read_setting("ASSAY_ROOT", REPO / ".assay" / "root", uris.make_absolute)
    airflow_port: int = _read_setting("ASSAY_AIRFLOW_PORT", 8080, int)
    ray_port: int = _read_setting("ASSAY_RAY_PORT", 8265, int)  # and the three after it
    ray_cpus: int = _read_setting("ASSAY_RAY_CPUS", max(2, os.cpu_count() or 2), int)
    gpu_slots: int = _read_setting("ASSAY_GPU_SLOTS", 1, int)
    router_slots: int = _read_setting("ASSAY_ROUTER_SLOTS", 1, int)

    @property
    def airflow_url(self) -> str:
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def ray_url(self) -> str:
        return f"http://127.0.0.1:{self.ray_port}"

    @property
    def socket(self) -> Path:
        return self._short(self.run / "supervisor.sock", SOCKET_PATH_LIMIT)

    @property
    def ray_temp(self) -> Path:
        return self._short(self.run / "ray", RAY_TEMP_LIMIT)

    def logs(self, program: str) -> Path:
        return self.run / "logs" / f"{program}.log"

    def _short(self, path: Path, limit: int) -> Path:
        """The path; or a short one in a private folder when the path is too long for a socket's address.

        Raises InputError when other users may use that folder.
        """
        if len(str(path)) <= limit:
            return path
        mark = hashlib.sha256(str(self.run).encode()).hexdigest()[:8]
        return make_private(Path(tempfile.gettempdir(), f"assay-{os.getuid()}")) / f"{mark}-{path.name}"


def make_private(folder: Path) -> Path:
    """The folder, which only this user can enter. Raises InputError for a link or for another user's folder."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = os.lstat(folder)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; remove it, or set TMPDIR to a folder of your own") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise InputError(
            f"{folder}: is a link, or others may use it, who could take the stack's place; remove it, or set TMPDIR to "
            "a folder of your own"
        )
    return folder


def secrets_of(settings: Settings) -> dict[str, str]:
    """The stack's keys and passwords. They are made once, in a file that only its owner can read."""
    file = settings.run / "secrets.json"
    if not file.exists():
        new_keys = {
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt_secret": secrets.token_hex(32),
            "api_secret": secrets.token_hex(32),
            "password": secrets.token_urlsafe(12),
            "ray_token": secrets.token_hex(32),
        }
        write_private(file, json.dumps(new_keys))
    keys: dict[str, str] = json.loads(file.read_text())
    if missing := [user for user in USERS if user not in keys]:  # a file of an earlier version has only `password`
        passwords = {user: secrets.token_urlsafe(12) for user in missing}
        keys |= passwords | ({"admin": keys["password"]} if "admin" in missing else {})
        write_private(file, json.dumps(keys))
    return keys


def write_private(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)


def environment(settings: Settings, airflow_home: Path | None = None) -> dict[str, str]:
    """The environment of every process of the stack: the caller's, and the variables that follow from the settings."""
    keys = secrets_of(settings)
    home = airflow_home or settings.run / "airflow"
    passwords = settings.run / "passwords.json"
    token = settings.run / "ray-token"
    write_private(passwords, json.dumps({user: keys[user] for user in USERS}))
    write_private(token, keys["ray_token"])
    connection: dict[str, Any] = {
        "conn_type": "ray",
        "host": "127.0.0.1",
        "port": settings.ray_port,
        "password": keys["ray_token"],
    }
    api = {"conn_type": "http", "host": settings.airflow_url, "login": "assay", "password": keys["assay"]}
    foreign = ("RAY_ADDRESS", "VIRTUAL_ENV")
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    return inherited | {
        MARK: str(settings.run),
        # Before the folders of another checkout, if one is installed.
        "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "plugins")]),
        "ASSAY_ROOT": settings.root,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # no other node takes over, so there is nothing to wait for
        # Despite its name this works on Linux too: without a cluster, Ray takes 127.0.0.1 for the node's address, and
        # its servers listen there and not on every interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_RAY_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_AIRFLOW_API": json.dumps(api),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPO / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # So many tasks may run at once. A run has at most three, and each worker holds some 20 MB, even if it is idle.
        "AIRFLOW__CORE__PARALLELISM": "8",
        # A worker holds its slot until its supervisor notices that the task has ended, which takes so many seconds.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # Seconds between two looks of an idle scheduler, so the delay before each task (default: 1). At 0.1, looking
        # takes a tenth of a core.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__CORE__FERNET_KEY": keys["fernet_key"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        # How soon a task is tried again whose process was killed along with the scheduler (default: five minutes).
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "60",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API__BASE_URL": settings.airflow_url,
        "AIRFLOW__API__SECRET_KEY": keys["api_secret"],
        "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt_secret"],
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
