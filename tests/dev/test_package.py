"""The package `assay`: the files of its wheel, its command, and its extras, which are those of the locks."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
UV = 'source dev/uv.sh && exec "$UV" '


def uv(command: str, *arguments: object) -> None:
    """Run uv with the package indexes that the project uses."""
    words = ["bash", "-c", f'{UV}{command} "$@"', "uv", *map(str, arguments)]
    process = subprocess.run(words, cwd=REPO, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build --quiet --wheel --build-constraints requirements/build.txt --out-dir", folder)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and without the packages that it depends on."""
    home = tmp_path_factory.mktemp("environment")
    uv("venv --quiet --python", sys.executable, home)
    uv("pip install --quiet --no-deps --python", home / "bin" / "python", wheel)
    return home


def list_tracked_files(*folders: str) -> set[str]:
    output = subprocess.run(["git", "ls-files", *folders], cwd=REPO, capture_output=True, text=True, check=True).stdout
    return {line for line in output.splitlines() if (REPO / line).exists()}


@pytest.mark.slow
def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    """Templates, styles, JSON and the py.typed files are in it too.

    What only Airflow's plugins folder needs is not, nor the sources of the pages' bundle.
    """
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked_names = {name.removeprefix("plugins/") for name in list_tracked_files("ray_jobs", "plugins/assay_airflow")}
    tracked_names = {name for name in tracked_names if not name.startswith("assay_airflow/ui/web/")}
    assert names == tracked_names
    assert names >= {
        "ray_jobs/py.typed",
        "assay_airflow/py.typed",
        "ray_jobs/report/report.html",
        "assay_airflow/ui/static/app.js",
    }


@pytest.mark.slow
def test_the_command_of_the_wheel_starts(installation: Path, tmp_path: Path) -> None:
    """From any folder, with this environment's libraries on the path but not this repository."""
    environment = {"PYTHONPATH": sysconfig.get_paths()["purelib"], "PATH": os.environ["PATH"]}
    command = [str(installation / "bin" / "assay"), "--version"]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (0, f"assay, version {PROJECT['version']}\n"), process.stderr
    code = "import ray_jobs.cli, assay_airflow; print(ray_jobs.cli.__file__); print(assay_airflow.__file__)"
    process = subprocess.run(
        [installation / "bin" / "python", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert [line.startswith(f"{installation}/") for line in process.stdout.splitlines()] == [True, True], process.stderr


def package_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[=<>~ ;]", line)[0].lower() for line in requirements}


@pytest.mark.parametrize(
    ("lock", "extras"), [("control", ["control"]), ("data-cpu", ["data", "cpu"]), ("data-gpu", ["data", "gpu"])]
)
def test_each_lock_marks_what_the_project_and_its_extras_require(lock: str, extras: list[str]) -> None:
    """uv writes beside each package which requirement brought it in."""
    direct, name = set(), ""
    for line in (REPO / "requirements" / f"{lock}.txt").read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==", line):
            name = match[1]
        elif re.fullmatch(r" +#.* assay \(pyproject\.toml\)", line):
            direct.add(name)
    optional = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    assert direct == package_names(PROJECT["dependencies"] + optional)


@pytest.mark.parametrize("environment", ["control", "data"])
def test_make_setup_installs_the_command(environment: str) -> None:
    home = REPO / ".assay" / environment
    if not home.is_dir():
        pytest.skip(f"{home} is not installed")
    process = subprocess.run([home / "bin" / "assay", "--version"], capture_output=True, text=True, cwd="/")
    assert (process.returncode, process.stdout) == (0, f"assay, version {PROJECT['version']}\n"), process.stderr


def test_the_command_of_the_images_starts() -> None:
    """docker/assay runs the code that PYTHONPATH names, with the first python on the PATH, as in the images."""
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPO)}
    process = subprocess.run(
        [REPO / "docker" / "assay", "records", "--help"], cwd="/", env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("Usage: assay records [OPTIONS]")
