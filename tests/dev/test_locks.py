"""The locks pin files, not only versions: an index that serves another file under the same name is refused."""

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
LOCKS = sorted(path for path in REQUIREMENTS.rglob("*.txt") if path.name != "overrides.txt")
# PyTorch's own index has other files for the CPU builds than other indexes (dev/lock.sh).
WITHOUT = {"torch", "torchvision"}


def read_hashes(lock: Path) -> dict[str, list[str]]:
    """The hashes of each package in a lock, by the package's name."""
    hashes: dict[str, list[str]] = {}
    name = ""
    for line in lock.read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==", line):
            name = match[1]
            hashes[name] = []
        hashes.setdefault(name, []).extend(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line))
    hashes.pop("", None)
    return hashes


def test_there_are_locks() -> None:
    assert {path.stem for path in LOCKS} >= {"control", "data-cpu", "data-gpu", "uv", "s3", "deploy"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_package_has_a_hash(lock: Path) -> None:
    packages = read_hashes(lock)
    assert packages
    without = {name for name, hashes in packages.items() if not hashes}
    assert without == (WITHOUT if lock.stem.startswith("data-cpu") or lock.stem == "vllm-cpu" else set())


def test_images_and_environments_are_installed_by_hash() -> None:
    docker = REQUIREMENTS.parent / "docker"
    for file in (docker / "airflow.Dockerfile", docker / "ray.Dockerfile"):
        text = file.read_text()
        installs = re.findall(r"uv pip install (?:[^\n]*\\\n)*[^\n]*", text)
        assert installs
        for install in installs:
            option = "--verify-hashes" if "data-cpu" in install else "--require-hashes"
            assert option in install, install
    assert "--require-hashes" in (REQUIREMENTS.parent / "dev" / "setup.sh").read_text()
