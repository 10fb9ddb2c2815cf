"""hadolint accepts the Dockerfiles, which also keep to rules that hadolint does not check."""

import re
import subprocess
from pathlib import Path

import pytest
from tools import DOCKER, tool

DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))


def test_both_planes_have_a_dockerfile() -> None:
    assert [path.name for path in DOCKERFILES] == ["airflow.Dockerfile", "ray.Dockerfile"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    hadolint = subprocess.run([tool("hadolint"), dockerfile], capture_output=True, text=True)
    assert hadolint.returncode == 0, hadolint.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_image_ends_as_a_user_that_is_not_root(dockerfile: Path) -> None:
    final = read_stages(dockerfile)
    for target in list_targets(dockerfile):
        users = [line.split()[1] for line in final[target] if line.startswith("USER ")]
        assert users, f"{target} never leaves root"
        assert users[-1].split(":")[0].isdigit(), f"{target}: runAsNonRoot needs a number to check, not {users[-1]}"
        assert int(users[-1].split(":")[0]) > 0


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_build_context_is_exactly_the_copied_paths(dockerfile: Path) -> None:
    """`.dockerignore` lets in every path that is copied, and nothing else: no .git, no .env."""
    paths = list_copied_paths(dockerfile)
    rules = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(set(paths))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_every_copied_path_exists(dockerfile: Path) -> None:
    missing = [path for path in list_copied_paths(dockerfile) if not (DOCKER.parent / path).exists()]
    assert not missing


def test_a_change_of_our_code_makes_a_small_layer() -> None:
    """Our code is copied after the packages; otherwise each change of a file would push and pull all packages again."""
    for dockerfile in DOCKERFILES:
        for target in list_targets(dockerfile):
            instructions = read_stages(dockerfile)[target]
            packages = instructions.index(next(line for line in instructions if line.endswith(" /opt/venv /opt/venv")))
            code = [index for index, line in enumerate(instructions) if line.startswith("COPY ray_jobs ")]
            assert code, target
            assert min(code) > packages, target


def list_copied_paths(dockerfile: Path) -> list[str]:
    """The paths of this repository that a Dockerfile copies."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), re.MULTILINE)
    return [path for line in lines for path in line.split()]


def read_stages(dockerfile: Path) -> dict[str, list[str]]:
    """The instructions of each stage, after those of the stage that it starts from."""
    instructions: dict[str, list[str]] = {}
    name = ""
    for line in dockerfile.read_text().splitlines():
        if start := re.match(r"FROM (\S+) AS (\S+)", line):
            name = start[2]
            instructions[name] = list(instructions.get(start[1], []))
        elif name:
            instructions[name].append(line)
    return instructions


def list_targets(dockerfile: Path) -> list[str]:
    """The stages that no other stage builds on or copies from: these are shipped."""
    text = dockerfile.read_text()
    return [name for name in read_stages(dockerfile) if f"FROM {name} " not in text and f"--from={name} " not in text]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_each_image_has_the_command_assay(dockerfile: Path) -> None:
    for target in list_targets(dockerfile):
        assert "COPY docker/assay /usr/local/bin/assay" in read_stages(dockerfile)[target]
