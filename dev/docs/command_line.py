"""Builds the page docs/reference/command-line.md: the `--help` text of each command of `assay`.

`dev.docs.reference` calls it. It walks the commands in this process and starts none of them.
"""

from collections.abc import Iterator

import click

from ray_jobs.cli import assay

WIDTH = 100  # columns of a help text
INTRODUCTION = """# Command line

`assay` has one command for each stage of a validation, and some for its results. Airflow submits the stages as Ray
jobs. `make setup` installs the command into both environments:

```sh
.assay/data/bin/assay suite check demo
```

The stages also run one by one as `python -m ray_jobs.preprocess` and so on. Airflow starts them in this way.

`make docs` writes this page from the commands' own `--help`."""


def walk_commands(command: click.Command = assay, parent: click.Context | None = None) -> Iterator[click.Context]:
    """The context of a command and of all commands below it, in the order of the help."""
    context = click.Context(command, parent, info_name=command.name, terminal_width=WIDTH, max_content_width=WIDTH)
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner and not inner.hidden:
                yield from walk_commands(inner, context)


def build_page() -> str:
    """The text of docs/reference/command-line.md."""
    lines = [INTRODUCTION]
    for context in walk_commands():
        lines += ["", f"## `{context.command_path}`", "", "```text", context.get_help(), "```"]
    return "\n".join(lines) + "\n"
