"""The command line `assay`: a command for each program. `python -m ray_jobs.X` runs the same commands one by one."""

import sys
from collections.abc import Sequence

import click

from ray_jobs.command_line.compare import compare
from ray_jobs.command_line.frame import run_command
from ray_jobs.command_line.group import OrderedGroup
from ray_jobs.command_line.records import records
from ray_jobs.command_line.run import run
from ray_jobs.command_line.stages import audit, caption, evaluate, plan, preprocess, publish
from ray_jobs.command_line.suite import suite
from ray_jobs.job.handshake import VERSION


@click.group(cls=OrderedGroup, epilog="`assay COMMAND --help` says what a command does, writes and returns.")
@click.version_option(VERSION, prog_name="assay")
def assay() -> None:
    """Validate vision-language checkpoints by captioning a fixed set of images.

    `assay run` does all stages of one validation; plan, preprocess, caption, evaluate and publish are these stages.
    Start with `assay suite check`, which shows what a suite will do, without a GPU.
    """


for command in (run, plan, preprocess, caption, evaluate, publish, audit, compare, records, suite):
    assay.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `assay` on the arguments, or on those of the process when None. Returns the exit code."""
    return run_command(assay, arguments, "assay")


if __name__ == "__main__":
    sys.exit(main())
