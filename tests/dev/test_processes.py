import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dev import processes
from dev.settings import MARK, Settings, secrets_of


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ASSAY_RUN_DIR", str(tmp_path / "run"))
    return Settings()


def test_the_configuration_holds_no_secret(settings: Settings) -> None:
    text = processes._config(settings)
    assert not [name for name, value in secrets_of(settings).items() if value in text]


def test_every_server_listens_on_this_machine_only(settings: Settings) -> None:
    text = processes._config(settings)
    assert "api-server --host 127.0.0.1" in text
    assert "--node-ip-address 127.0.0.1 --dashboard-host 127.0.0.1" in text
    assert text.count("--skip-serve-logs") == 2


def test_without_a_supervisor_nothing_runs_and_down_is_harmless(settings: Settings) -> None:
    assert processes.supervisor(settings) is None
    assert set(processes.states(settings).values()) == {"not started"}
    assert processes.down(settings) == 0


def test_a_taken_port_is_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("ASSAY_AIRFLOW_PORT", str(port))
        line = f"port {port} for api-server is taken; set ASSAY_AIRFLOW_PORT to another one"
        with pytest.raises(processes.StackError, match=line):
            processes._check_ports(Settings(), "api-server")


def test_down_ends_what_a_killed_parent_left_behind(settings: Settings) -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={MARK: str(settings.run)})
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={MARK: "/another"})
    try:
        while not (processes._marked(settings) and bystander.poll() is None):
            assert left.poll() is None
        assert processes.down(settings) == 1
        assert left.wait(10) != 0
        assert bystander.poll() is None
    finally:
        for process in (left, bystander):
            process.kill()
            process.wait()
