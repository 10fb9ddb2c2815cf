"""A job that an Airflow of another version submitted works, or is refused in one line."""

import subprocess
import tomllib
from pathlib import Path

import pytest
from assay_airflow.stages import StageJob
from specs import make_spec

from ray_jobs.inputs.errors import InputError
from ray_jobs.job import handshake


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert project["project"]["version"] == handshake.VERSION


@pytest.mark.parametrize("version", [None, handshake.say(), f"9.9.9:{handshake.PROTOCOL}", f"0.0.1:{handshake.OLDEST}"])
def test_compatible_versions_pass_the_handshake(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    if version is not None:
        monkeypatch.setenv(handshake.VARIABLE, version)
    handshake.check()


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (f"0.9.0:{handshake.PROTOCOL + 1}", "upgrade the image of the Ray cluster"),
        ("99.0.0:999999999", "Airflow runs Assay 99.0.0, Ray runs Assay 0.1.0"),
        (f"0.0.1:{handshake.OLDEST - 1}", "upgrade Airflow's image"),
        ("", "is not <version>:<protocol>"),
        ("0.1.0", "is not <version>:<protocol>"),
        ("0.1.0:-1", "is not <version>:<protocol>"),
        ("0.1.0:1e3", "is not <version>:<protocol>"),
        ("\x1b[31m:1", "is not <version>:<protocol>"),
        ("v\nFAKE LINE:1", "is not <version>:<protocol>"),
        ("x" * 5000 + ":1", "is not <version>:<protocol>"),
        ("0.1.0:" + "9" * 5000, "is not <version>:<protocol>"),
    ],
)
def test_incompatible_versions_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, version: str, message: str
) -> None:
    monkeypatch.setenv(handshake.VARIABLE, version)
    with pytest.raises(InputError) as refused:
        handshake.check()
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 300


def test_the_command_of_a_job_sets_the_version(tmp_path: Path) -> None:
    entrypoint = StageJob.of("caption", make_spec(tmp_path / "root")).payload(0, {})["entrypoint"]
    program = entrypoint.replace("python -u -m", "env #")  # what a shell hands to the job
    environment = subprocess.run(["bash", "-c", program], capture_output=True, text=True).stdout
    assert f"{handshake.VARIABLE}={handshake.say()}" in environment.splitlines()
