import json
import stat
from pathlib import Path

import pytest

from dev.settings import RAY_TEMP_LIMIT, SOCKET_PATH_LIMIT, Settings, environment, secrets_of


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
    made = secrets_of(settings)
    assert secrets_of(settings) == made
    environment(settings)
    for name in ("secrets.json", "passwords.json", "ray-token"):
        assert stat.S_IMODE((settings.run / name).stat().st_mode) == 0o600, name


def test_every_process_is_told_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store")
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    told = environment(settings)
    connection = json.loads(told["AIRFLOW_CONN_RAY_DEFAULT"])
    assert (connection["host"], connection["port"]) == ("127.0.0.1", settings.ray_port)
    assert Path(told["RAY_AUTH_TOKEN_PATH"]).read_text() == connection["password"]
    assert told["AWS_ENDPOINT_URL"] == "http://store"
    assert "RAY_ADDRESS" not in told


def test_a_socket_fits_however_deep_the_folder_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_RUN_DIR", str(tmp_path / ("deep/" * 30)))
    deep = Settings()
    assert len(str(deep.socket)) <= SOCKET_PATH_LIMIT
    assert len(str(deep.ray_temp)) <= RAY_TEMP_LIMIT
    monkeypatch.setenv("ASSAY_RUN_DIR", str(tmp_path / ("deep/" * 29)))
    assert Settings().socket != deep.socket  # two stacks do not meet there
