"""The frame of every command: parse the arguments, start the program, return its exit code.

`assay X` (ray_jobs/cli.py) and `python -m ray_jobs.X` both run a command through `run_command`, so both take the same
arguments and end alike.
"""

import gc
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.runtime.collector import collector_paused

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

TROUBLE, BAD_INPUT, INTERRUPTED = 1, 2, 130
WIDTH = 100  # of a help page, at most


def run_command(command: click.Command, arguments: Sequence[str] | None = None, name: str | None = None) -> int:
    """Runs the command and returns its exit code. Prints an InputError or a RetryableError as one line on stderr.

    `arguments` are those of the process when None. `name` is the name of the command in its help. When None, click
    finds the name, such as `python -m ray_jobs.X`.
    """
    try:
        code: int | None = command.main(
            arguments, prog_name=name, standalone_mode=False, max_content_width=WIDTH, complete_var="_ASSAY_COMPLETE"
        )
        return code or 0
    except click.ClickException as error:
        _print_usage_error(error)
        return BAD_INPUT
    except click.Abort:
        return INTERRUPTED
    except Exception as error:
        if (code := exit_code_of(error)) is None:
            raise
        print(error, file=sys.stderr)
        return code


def exit_code_of(error: Exception) -> int | None:
    """Returns 2 for bad input, 1 for trouble, and None for any other error, which is a fault of Assay."""
    from ray_jobs.checkpoints.errors import Incomplete  # imported late, because only an error needs it

    if isinstance(error, RetryableError):
        return TROUBLE
    return BAD_INPUT if isinstance(error, InputError | Incomplete) else None


def start_program(name: str, **options: Any) -> int:
    """Import the program `ray_jobs.{name}`, run its `main` on the options, and return the exit code.

    The garbage collector leaves alone what was imported, and at the exit of the process everything. To walk all objects
    at the exit alone takes a quarter of a second.
    """
    with collector_paused():
        program = importlib.import_module(f"ray_jobs.{name}")
    code: int = program.main(**options)
    gc.freeze()
    return code


def list_exit_codes(*meanings: str) -> str:
    """Returns the end of a help page with the meaning of each exit code: of 0, then of 3, 4 and so on."""
    codes = [
        meanings[0],
        "trouble, such as storage that does not answer: try again",
        "bad input: do what the line says",
    ]
    lines = [f"  {code}  {meaning}" for code, meaning in enumerate([*codes, *meanings[1:]])]
    return "\n".join(["\b", "Exit codes:", *lines])


def json_option(function: Decorated) -> Decorated:
    """Adds the option `--json`. The command gets it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a program to read.")(
        function
    )


def print_json(content: Any) -> None:
    """Prints the content as JSON in ASCII, because untrusted names must not reach a terminal as they are."""
    print(json.dumps(content, indent=1, ensure_ascii=True))


def _print_usage_error(error: click.ClickException) -> None:
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        error.show()
    elif isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(context.get_help(), file=sys.stderr)
    else:
        message = " ".join(error.format_message().split()).rstrip(".")
        print(f"{context.command_path}: {message}; see {context.command_path} --help", file=sys.stderr)
