"""What `python -m ray_jobs.X` runs: the same command as `assay X`, under the module's name."""

from collections.abc import Sequence

import click

from ray_jobs.command_line.compare import compare
from ray_jobs.command_line.frame import run_command
from ray_jobs.command_line.records import records
from ray_jobs.command_line.run import run
from ray_jobs.command_line.stages import audit, caption, evaluate, plan, preprocess, publish
from ray_jobs.command_line.suite import suite_check

PROGRAMS: dict[str, click.Command] = {
    "run": run,
    "plan": plan,
    "preprocess": preprocess,
    "caption": caption,
    "evaluate": evaluate,
    "publish": publish,
    "audit": audit,
    "compare": compare,
    "records": records,
    "suite_check": suite_check,
}


def run_program(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the program's command on the arguments, the process's own when none are given; the exit code."""
    return run_command(PROGRAMS[name], arguments, f"python -m ray_jobs.{name}")
