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
    text = processes._build_config(settings)
    assert not [name for name, value in secrets_of(settings).items() if value in text]


def test_every_server_listens_on_this_machine_only(settings: Settings) -> None:
    text = processes._build_config(settings)
    assert "api-server --host 127.0.0.1" in text
    assert "--node-ip-address 127.0.0.1 --dashboard-host 127.0.0.1" in text
    assert text.count("--skip-serve-logs") == 2


def test_without_a_supervisor_nothing_runs_and_down_returns_0(settings: Settings) -> None:
    assert processes.supervisor(settings) is None
    assert set(processes.states(settings).values()) == {"not started"}
    assert processes.down(settings) == 0


HOLD_PORT = Path(__file__).with_name("hold_port.py")


@pytest.mark.parametrize(("program", "variable"), [("api-server", "ASSAY_AIRFLOW_PORT"), ("ray", "ASSAY_RAY_PORT")])
def test_a_taken_port_is_one_line_that_names_the_process_on_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, program: str, variable: str
) -> None:
    with subprocess.Popen([sys.executable, HOLD_PORT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        port = int(holder.stdout.readline())
        monkeypatch.setenv(variable, str(port))
        with pytest.raises(processes.StackError) as raised:
            processes._check_ports(Settings(), program)
        holder.communicate(b"\n")
    line = str(raised.value)
    assert line.startswith(f"port {port} for {program} is taken by process {holder.pid} ({sys.executable} /")
    assert f"); end it, or set {variable} to another one" in line
    assert "\n" not in line


def test_down_ends_a_process_whose_parent_was_killed(settings: Settings) -> None:
    orphan = subprocess.Popen(["sleep", "600"], env={MARK: str(settings.run)})
    bystander = subprocess.Popen(["sleep", "600"], env={MARK: "/another"})
    try:
        while not (processes._list_stack_pids(settings) and bystander.poll() is None):
            assert orphan.poll() is None
        assert processes.down(settings) == 1
        assert orphan.wait(10) != 0
        assert bystander.poll() is None
    finally:
        for process in (orphan, bystander):
            process.kill()
            process.wait()
