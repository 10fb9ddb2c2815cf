"""The commands that check a suite."""

from pathlib import Path

import click

from ray_jobs.command_line.frame import Decorated, json_option, list_exit_codes, start_program
from ray_jobs.command_line.group import OrderedGroup

DEFAULT_SAMPLE, MAX_SAMPLE = 50, 2000  # images that are prepared
EXIT_CODES = list_exit_codes("nothing would stop a job; doubts may be listed")


@click.group(cls=OrderedGroup)
def suite() -> None:
    """Check a suite before its first run."""


def _add_options(function: Decorated) -> Decorated:
    for option in reversed((
        click.option("--checkpoint", metavar="URI", help="Also check this model directory or LoRA adapter."),
        click.option("--judge", is_flag=True, help="Ask the judge about the five images that are shown."),
        click.option("--sample", type=click.IntRange(1, MAX_SAMPLE), default=DEFAULT_SAMPLE, show_default=True,
                     metavar="N", help=f"How many images to prepare, at most {MAX_SAMPLE:,}."),
        click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write the page as HTML."),
        json_option,
    )):  # fmt: skip
        function = option(function)
    return function


@suite.command(epilog=EXIT_CODES)
@click.argument("suite_name", metavar="SUITE")
@_add_options
def check(suite_name: str, checkpoint: str | None, judge: bool, sample: int, html: Path | None, as_json: bool) -> int:
    """Check a suite and its images as the jobs would use them.

    SUITE is the name of a suite in dags/suites, or a YAML file. Prints counts, five images as the jobs would use them,
    the prompt as the model gets it, facts about the checkpoint and the judge, and every fault and doubt: it does not
    stop at the first fault. Needs no GPU and no Ray cluster, and writes only the page. Run it where the jobs run.

    \b
    Example:
      assay suite check demo --checkpoint demo/checkpoints/step-0800 --html check.html
    """
    return start_program(
        "suite_check", suite_name=suite_name, checkpoint_uri=checkpoint, ask_judge=judge, sample=sample, html=html,
        as_json=as_json,
    )  # fmt: skip


@click.command("suite_check", epilog=EXIT_CODES)
@click.option("--suite", required=True, metavar="SUITE", help="The name of a suite in dags/suites, or a YAML file.")
@_add_options
@click.pass_context
def suite_check(context: click.Context, /, suite: str, **options: object) -> int:
    """The same as `assay suite check SUITE`, with the suite as an option."""
    code: int = context.invoke(check, suite_name=suite, **options)
    return code
