import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.settings import RAY_TEMP_LIMIT, SOCKET_PATH_LIMIT, USERS, Settings, environment, secrets_of
from ray_jobs.inputs.errors import InputError


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ASSAY_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("ASSAY_ROOT", "relative/root")
    return Settings()


def test_the_environment_decides(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.run == tmp_path / "run"
    assert Path(settings.root).is_absolute()  # it means the same in every process
    monkeypatch.setenv("ASSAY_AIRFLOW_PORT", "9999")
    assert Settings().airflow_url == "http://127.0.0.1:9999"


def test_secrets_are_made_once_and_private(settings: Settings) -> None:
    secrets = secrets_of(settings)
    assert secrets_of(settings) == secrets
    environment(settings)
    for name in ("secrets.json", "passwords.json", "ray-token"):
        assert stat.S_IMODE((settings.run / name).stat().st_mode) == 0o600, name


def test_a_stack_of_an_earlier_version_keeps_its_password_and_gets_the_new_users(settings: Settings) -> None:
    secrets = secrets_of(settings)
    file = settings.run / "secrets.json"
    file.write_text(json.dumps({name: value for name, value in secrets.items() if name not in USERS}))
    later = secrets_of(settings)
    assert later["admin"] == secrets["password"]
    assert secrets_of(settings) == later
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_every_process_gets_the_same_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store")
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    variables = environment(settings)
    connection = json.loads(variables["AIRFLOW_CONN_RAY_DEFAULT"])
    assert (connection["host"], connection["port"]) == ("127.0.0.1", settings.ray_port)
    assert Path(variables["RAY_AUTH_TOKEN_PATH"]).read_text() == connection["password"]
    api = json.loads(variables["AIRFLOW_CONN_AIRFLOW_API"])
    passwords = json.loads((settings.run / "passwords.json").read_text())
    assert (api["host"], api["password"]) == (settings.airflow_url, passwords[api["login"]])
    users = dict(user.split(":") for user in variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(","))
    assert users == {"admin": "admin", "op": "op", "viewer": "viewer", "assay": "user"}
    assert passwords.keys() == users.keys()
    assert variables["AWS_ENDPOINT_URL"] == "http://store"
    assert "RAY_ADDRESS" not in variables


def test_a_sockets_path_is_short_enough_in_a_deep_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="a", dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        monkeypatch.setenv("ASSAY_RUN_DIR", str(tmp_path / ("deep/" * 30)))
        deep = Settings()
        assert len(str(deep.socket)) <= SOCKET_PATH_LIMIT
        assert len(str(deep.ray_temp)) <= RAY_TEMP_LIMIT
        monkeypatch.setenv("ASSAY_RUN_DIR", str(tmp_path / ("deep/" * 29)))
        assert Settings().socket != deep.socket  # two stacks do not meet there


@pytest.fixture
def too_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for sockets if the stack's own path is too long; it does not exist yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("ASSAY_RUN_DIR", str(tmp_path / ("deep/" * 30)))
    return tmp_path / f"assay-{os.getuid()}"


def test_sockets_lie_in_a_folder_of_their_user_alone(too_deep: Path) -> None:
    assert {Settings().socket.parent, Settings().ray_temp.parent} == {too_deep}
    assert (stat.S_IMODE(too_deep.stat().st_mode), too_deep.stat().st_uid) == (0o700, os.getuid())


def give_away(folder: Path) -> None:
    folder.mkdir(0o700)
    os.chown(folder, 12345, 12345)


def make_with_mode(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)


def link_to_private(folder: Path) -> None:
    folder.with_name("x").mkdir(0o700)
    folder.symlink_to(folder.with_name("x"))


SQUATTED: dict[str, Callable[[Path], None]] = {
    "a folder of another user": give_away,
    "a folder open to all": lambda folder: make_with_mode(folder, 0o777),
    "a folder that others may enter": lambda folder: make_with_mode(folder, 0o711),
    "a link to a private folder": link_to_private,
    "a link to nothing": lambda folder: folder.symlink_to("nowhere"),
    "a file": lambda folder: folder.touch(0o600),
}


@pytest.mark.parametrize("case", SQUATTED)
@pytest.mark.parametrize("use", ["socket", "ray_temp"])
def test_a_folder_that_another_user_made_is_refused(too_deep: Path, case: str, use: str) -> None:
    if "another user" in case and os.getuid() != 0:
        pytest.skip("giving a folder away needs root")
    SQUATTED[case](too_deep)
    with pytest.raises(InputError, match=rf"^{too_deep}: [^\n]*; remove it, or set TMPDIR to a folder of your own$"):
        getattr(Settings(), use)
