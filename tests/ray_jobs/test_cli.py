"""The command line: light, the same as `python -m ray_jobs.X`, and one line for each error."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ray_jobs import cli
from ray_jobs.command_line import compare, records, run, stages, suite
from ray_jobs.command_line.frame import run_command

REPO = Path(__file__).parents[2]
ENVIRONMENTS = [name for name in ("control", "data") if (REPO / ".assay" / name).is_dir()]
HEAVY = ("ray", "torch", "vllm", "pyarrow", "numpy", "airflow", "pydantic", "boto3", "yaml")
COMMANDS = [
    [], ["run"], ["plan"], ["preprocess"], ["caption"], ["evaluate"], ["publish"], ["audit"], ["compare"], ["records"],
    ["records", "list"], ["records", "show"], ["records", "decide"], ["records", "rebuild"],
    ["suite"], ["suite", "check"],
]  # fmt: skip


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every command, groups and their commands."""
    commands = [path]
    for name, child in command.commands.items() if isinstance(command, click.Group) else ():
        commands += leaves(child, (*path, name))
    return commands


def test_every_command_is_tried_here() -> None:
    assert [list(path) for path in leaves(cli.assay)] == COMMANDS


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_help_needs_nothing_heavy(environment: str) -> None:
    """Each command's help, in a bare interpreter of each environment, must not load a library of the jobs."""
    python = REPO / ".assay" / environment / "bin" / "python"
    command = [str(python), "-P", str(Path(__file__).with_name("print_help_pages.py")), json.dumps(COMMANDS), *HEAVY]
    process = subprocess.run(command, capture_output=True, text=True, cwd=REPO, env={"PYTHONPATH": str(REPO)})
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "loaded []"
    for words in COMMANDS:
        assert " ".join(["Usage: assay", *words]) in process.stdout


@pytest.mark.parametrize("command", [path for path in leaves(cli.assay) if path], ids=" ".join)
def test_help_is_a_page(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Each help says what the command does. A command that does something also has an example and its exit codes."""
    assert cli.main([*command, "--help"]) == 0
    page = capsys.readouterr().out
    if "Commands:" in page:
        return
    assert f"Example:\n    {'spec=$(' if command == ('plan',) else ''}assay {' '.join(command)} " in page
    assert "Exit codes:\n    0  " in page
    assert "    2  bad input" in page


def test_groups_name_each_command_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    for group in ([], ["records"], ["suite"]):
        cli.main([*group, "--help"])
        commands = capsys.readouterr().out.partition("Commands:")[2]
        assert commands
        assert "..." not in commands


STAGES = {name: getattr(stages, name) for name in ("plan", "preprocess", "caption", "evaluate", "publish", "audit")}
PROGRAMS: dict[str, click.Command] = STAGES | {
    "run": run.run, "compare": compare.compare, "records": records.records, "suite_check": suite.suite_check
}  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_run_as_a_module_is_its_command(program: str) -> None:
    file = PROGRAMS[program].callback.__module__.rpartition(".")[2]
    tree = ast.parse((REPO / "ray_jobs" / f"{program}.py").read_text())
    assert ast.unparse(tree.body[-1]).splitlines() == [
        "if __name__ == '__main__':",
        f"    from ray_jobs.command_line import {file}",
        "    from ray_jobs.command_line.frame import run_command",
        f"    sys.exit(run_command({file}.{program}))",
    ]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_of_a_module_names_the_module(program: str) -> None:
    page = subprocess.run(
        [sys.executable, "-m", f"ray_jobs.{program}", "--help"], capture_output=True, text=True, cwd=REPO
    )
    assert page.stdout.startswith(f"Usage: python -m ray_jobs.{program} ")


SPEC = {"spec_uri": "s"}
RUN = {"checkpoint_uri": "c", "suite_name": "s", "root": "r", "baseline": "b", "force": True, "as_json": True}
CALLS = [
    ("plan", "--checkpoint c --suite s --root r --baseline b --json", {k: v for k, v in RUN.items() if k != "force"}),
    ("run", "c --suite s --root r --baseline b --force --json", RUN),
    *[(stage, "--spec s", SPEC) for stage in ("preprocess", "caption", "evaluate", "audit")],
    ("publish", "--spec s --json", SPEC | {"as_json": True}),
    ("compare", "a b --output o --json", {"baseline_uri": "a", "candidate_uri": "b", "output": "o", "as_json": True}),
    (
        "suite_check",
        "--suite s --checkpoint c --judge --sample 7 --html h --json",
        {"suite_name": "s", "checkpoint_uri": "c", "ask_judge": True, "sample": 7, "html": Path("h"), "as_json": True},
    ),
]


@pytest.mark.parametrize(("program", "arguments", "options"), CALLS, ids=[call[0] for call in CALLS])
def test_both_ways_start_the_program_with_the_same_options(
    program: str, arguments: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program's `main` is replaced by a function of the same signature that ends with a unique code."""
    module = importlib.import_module(f"ray_jobs.{program}")
    signature, calls = inspect.signature(module.main), []

    def main(*args: object, **options: object) -> int:
        bound_arguments = signature.bind(*args, **options)
        calls.append(dict(bound_arguments.arguments))
        return 17

    monkeypatch.setattr(module, "main", main)
    words = arguments.split()
    assert run_command(PROGRAMS[program], words) == 17
    if program == "suite_check":
        assert cli.main(["suite", "check", *words[1:]]) == 17
    else:
        assert cli.main([program, *words]) == 17
    assert calls == [options, options]


@pytest.mark.parametrize(
    ("command", "arguments", "fault"),
    [
        ("assay", "plon", "No such command 'plon'. Did you mean 'plan'?"),
        ("assay plan", "--suite x", "Missing option '--checkpoint'"),
        ("assay compare", "a", "Missing argument 'RUN'"),
        ("assay caption", "--spek x", "No such option '--spek'. Did you mean '--spec'?"),
        ("assay records rebuild", "a b", "Got unexpected extra argument (b)"),
        ("assay suite check", "x --sample 0", "Invalid value for '--sample': 0 is not in the range 1<=x<=2000"),
    ],
)
def test_a_wrong_command_is_one_line(
    command: str, arguments: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command.split()[1:], *arguments.split()]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"{command}: {fault}; see {command} --help\n")


def test_without_a_command_the_page_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "Usage: assay [OPTIONS] COMMAND" in capsys.readouterr().err


def test_a_fault_of_our_own_is_not_hidden() -> None:
    @click.command()
    def raise_fault() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        run_command(raise_fault, [])


def test_ctrl_c_ends_as_a_shell_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def raise_interrupt() -> None:
        raise KeyboardInterrupt

    assert run_command(raise_interrupt, []) == 130
    assert capsys.readouterr().err == "\n"


@pytest.mark.parametrize("command_start", [["ray_jobs.cli", "plan"], ["ray_jobs.plan"]], ids=" ".join)
def test_a_process_ends_with_the_code_and_the_line(command_start: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", *command_start, "--suite", "nosuch", "--checkpoint", "c", "--root", str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("suite 'nosuch': ")
    assert process.stderr.count("\n") == 1
