"""The commands about the records of published runs. They read small JSON files only."""

import sys

import click

from ray_jobs.command_line.frame import exit_codes, json_option, print_json
from ray_jobs.command_line.group import OrderedGroup


@click.group(cls=OrderedGroup)
def records() -> None:
    """Index the records of published runs."""


@records.command(epilog=exit_codes("the index is whole, but for the records that are named as left out"))
@click.argument("root", metavar="ROOT")
@json_option
def rebuild(root: str, as_json: bool) -> int:
    """Write the index again from the records.

    Entries that have no record are dropped. ROOT is where results are kept. The records, {root}/runs/*/*/record.json,
    are the truth; the index, {root}/index/{suite}/, can be made from them at any time. A record that cannot be read is
    named, and left out.

    \b
    Example:
      assay records rebuild s3://bucket/assay
    """
    from ray_jobs import storage
    from ray_jobs.records import rebuild as rebuild_index

    count, left_out = rebuild_index(storage.absolute(root))
    if as_json:
        print_json({"indexed": count, "left_out": left_out})
        return 0
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{count} records indexed" + (f", {len(left_out)} left out" if left_out else ""))
    return 0
