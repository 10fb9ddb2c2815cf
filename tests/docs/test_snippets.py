"""The pages' examples work: suites are read, Python and marked commands are run, and each name exists."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.metrics import custom

REPO = Path(__file__).parents[2]
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").rglob("*.md"))]
COMMAND_PAGES = [
    *PAGES,
    *(REPO / folder / "README.md" for folder in ("benchmarks", "demo", "docker", "helm", "requirements")),
]
TESTED_APART = ("describe-your-data.md", "ask-for-fields.md")  # test_your_data.py, test_fields_page.py
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MINIMAL = {"name": "page", "dataset": {"source": "s3://bucket/images"}}
NOT_OURS = ("pip", "pytest", "venv")  # `python -m` of other people's modules


def blocks(page: Path, *languages: str) -> Iterator[tuple[str, str, str]]:
    """Language, word after it and text of the page's blocks in one of these languages."""
    yield from (block for block in FENCE.findall(page.read_text()) if block[0] in languages)


def name_of(page: Path) -> str:
    return page.relative_to(REPO).as_posix()


def pages_with(*languages: str) -> list[Any]:
    pages = [page for page in PAGES if page.name not in TESTED_APART and any(blocks(page, *languages))]
    return [pytest.param(page, id=name_of(page)) for page in pages]


def test_there_are_snippets() -> None:
    assert len(pages_with("yaml")) >= 8
    assert len(pages_with("python")) >= 2


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_every_suite_is_read_by_the_real_loader(page: Path) -> None:
    """A block with a `name` is a whole suite. Any other is a part of one: the page's parts build one suite."""
    parts: dict[str, Any] = dict(MINIMAL)
    for _, _, text in blocks(page, "yaml"):
        settings = yaml.safe_load(text)
        if "name" not in settings:
            settings = parts = parts | settings
        parse_suite(yaml.safe_dump(settings, sort_keys=False), settings["name"])


@pytest.mark.parametrize("page", pages_with("python"))
def test_every_python_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block with a file's name is a metric, which is loaded as `plan` and the jobs load it."""
    monkeypatch.chdir(tmp_path)
    for _, file, text in blocks(page, "python"):
        if file:
            name = file.removesuffix(".py")
            assert custom.load_metrics({name: text})[name].name == name
        else:
            exec(compile(text, name_of(page), "exec"), {"__name__": "page"})


@pytest.mark.slow
def test_the_tutorial_with_your_own_images(tmp_path: Path) -> None:
    """Its files are written and its marked commands are run, in a folder that has the repository's own files."""
    page = REPO / "docs" / "tutorials" / "your-own-images.md"
    for entry in (".assay", "dags", "demo", "plugins", "ray_jobs"):
        (tmp_path / entry).symlink_to(REPO / entry)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment["PYTHONPATH"] = f"{REPO}:{REPO / 'plugins'}"  # this checkout, whichever one the environment points to
    script = ["set -euo pipefail"]
    for language, word, text in blocks(page, "sh", "yaml"):
        if language == "yaml":
            script += [f"cat >{word} <<'END'\n{text}END"]
        elif word == "run":
            script.append(text)
    run = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr + run.stdout
    assert '"file_name": "scene-000.png"' in run.stdout
    assert "nothing to doubt was found" in run.stdout


# --- each name exists ---------------------------------------------------------------------------------------------


def find_settings(pattern: str) -> list[Any]:
    mentions = {(name, name_of(page)) for page in COMMAND_PAGES for name in re.findall(pattern, page.read_text())}
    return [pytest.param(name, id=f"{name} in {page}") for name, page in sorted(mentions)]


@pytest.mark.parametrize(
    "module", [m for m in find_settings(r"python -m (\w[\w.]*\w)(?=[\s`\"])") if m.values[0] not in NOT_OURS]
)
def test_every_program_of_a_page_exists(module: str) -> None:
    sys.path.insert(0, str(REPO))
    try:
        assert importlib.util.find_spec(module) is not None
    finally:
        sys.path.remove(str(REPO))


@pytest.mark.parametrize("target", find_settings(r"^(?:\$ |```\n)?make ([a-z-]+)|`make ([a-z-]+)"))
def test_every_make_target_of_a_page_exists(target: tuple[str, str]) -> None:
    assert re.search(rf"^{target[0] or target[1]}:", (REPO / "Makefile").read_text(), re.MULTILINE)


MADE = ("docker/.env",)  # by docker/make_env.py
FOLDERS = "ray_jobs|plugins|dags|tests|dev|demo|benchmarks|docs|docker|helm|requirements"


@pytest.mark.parametrize("path", find_settings(rf"`((?:{FOLDERS})/[\w./-]*\w/?)(?=[` ])"))
def test_every_path_of_a_page_exists(path: str) -> None:
    assert path in MADE or (REPO / path).exists()


def test_every_page_that_the_code_names_exists() -> None:
    """In docstrings, in error lines and on the pages of DAGs."""
    files = (
        file for folder in ("ray_jobs", "plugins", "dags", "dev", "demo") for file in (REPO / folder).rglob("*.py")
    )
    mentions = {(file, name) for file in files for name in re.findall(r"\bdocs/[\w/-]+\.md\b", file.read_text())}
    assert len(mentions) > 5
    assert {f"{file.relative_to(REPO)}: {name}" for file, name in mentions if not (REPO / name).exists()} == set()
