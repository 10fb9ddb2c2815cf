"""The commands about the records of published runs. They read small JSON files only."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ray_jobs.command_line.frame import json_option, list_exit_codes, print_json
from ray_jobs.command_line.group import OrderedGroup
from ray_jobs.command_line.stages import root_option
from ray_jobs.storage import object_listing, uris

if TYPE_CHECKING:
    from ray_jobs.contract.artifacts import Record


@click.group(cls=OrderedGroup)
def records() -> None:
    """List, show and index the records of published runs."""


@records.command("list", epilog=list_exit_codes("the records are listed; there may be none"))
@root_option
@click.option("--suite", metavar="NAME", help="Only the runs of this suite.")
@json_option
def list_records(root: str, suite: str | None, as_json: bool) -> int:
    """List the published runs of each suite, oldest first.

    Prints one line per run: the time of publishing, the suite, the verdict, the checkpoint, and the run's URI for
    `assay records show` and `assay compare`. With --json, also the means of the run's metrics.

    \b
    Example:
      assay records list --suite demo
    """
    from ray_jobs.inputs.names import printable
    from ray_jobs.storage import index

    root = uris.make_absolute(root)
    suites = [suite] if suite else sorted(object_listing.list_subfolders(f"{root}/index"))
    summaries = [(name, line) for name in suites for line in index.load_complete(root, name).records.values()]
    if as_json:
        print_json([{"suite": name, **line.model_dump(mode="json")} for name, line in summaries])
        return 0
    rows = [
        (f"{line.published_at:%Y-%m-%d %H:%M}", printable(name), line.outcome, printable(line.checkpoint.name),
         printable(line.run_uri, 500))
        for name, line in summaries
    ]  # fmt: skip
    _print_table(("published", "suite", "verdict", "checkpoint", "run"), rows)
    return 0


@records.command(epilog=list_exit_codes("the record is shown, whatever its verdict"))
@click.argument("run", metavar="RUN")
@json_option
def show(run: str, as_json: bool) -> int:
    """Show the verdict and the metrics of one run.

    RUN is the URI of a run's folder or of its record.json. With --json, prints the whole record, with every comparison
    behind the verdict.

    \b
    Example:
      assay records show s3://bucket/assay/runs/step-0800-7a8b9c0d/1e2f3a4b5c6d7e8f
    """
    from ray_jobs.storage.records import load, run_uri_of

    record = load(run)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        _print_record(record, run_uri_of(run))
    return 0


@records.command(epilog=list_exit_codes("the decision is stored"))
@click.argument("run", metavar="RUN")
@click.option("--accept/--reject", "accepted", default=None, help="May the run be a baseline, or not?")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for those who read it in a year.")
@click.option("--by", "decided_by", metavar="NAME", help="Who decides.  [default: the user and host of this shell]")
@json_option
def decide(run: str, accepted: bool | None, reason: str, decided_by: str | None, as_json: bool) -> int:
    """Accept or reject a run, whatever its verdict is.

    RUN is the URI of a run's folder or of its record.json. The verdict that was measured stays as it is. A run that is
    accepted becomes the baseline of those that ask for `last-accepted`, until another one is accepted; a rejected run
    is no such baseline. An INCOMPLETE run cannot be accepted. The last decision about a run counts, and all are kept.

    \b
    Example:
      assay records decide s3://bucket/assay/runs/step-0809-5acd7fa7/1e2f3a4b5c6d7e8f --accept \\
        --reason "The lost backgrounds are of images that we drop next week."
    """
    import getpass
    import socket

    from ray_jobs.contract.decision import describe_decision
    from ray_jobs.inputs.names import printable
    from ray_jobs.storage import decisions
    from ray_jobs.storage.records import load, run_uri_of

    if accepted is None:
        raise click.UsageError("give --accept or --reject")
    decided_by = decided_by or f"{getpass.getuser()}@{socket.gethostname()}"
    decision = decisions.decide(decisions.root_of(run_uri_of(run)), load(run), accepted, reason, decided_by)
    print_json(decision.model_dump(mode="json")) if as_json else print(printable(describe_decision(decision), 2500))
    return 0


@records.command(epilog=list_exit_codes("the index is whole, but for the records that are named as left out"))
@click.argument("root", metavar="ROOT")
@json_option
def rebuild(root: str, as_json: bool) -> int:
    """Write the index again from the records.

    ROOT is the URI of the folder that holds all results. The index, {root}/index/{suite}/, can be made from the
    records, {root}/runs/*/*/record.json, at any time. Entries without a record are dropped. A record that cannot be
    read is named and left out.

    \b
    Example:
      assay records rebuild s3://bucket/assay
    """
    from ray_jobs.storage.index_rebuild import rebuild_index

    count, left_out = rebuild_index(uris.make_absolute(root))
    if as_json:
        print_json({"indexed": count, "left_out": left_out})
        return 0
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{count} records indexed" + (f", {len(left_out)} left out" if left_out else ""))
    return 0


def _print_record(record: "Record", run_uri: str) -> None:
    """Prints the record as text. Its root may have moved since it was written, so `run_uri` is where it was read."""
    from ray_jobs.contract.decision import describe_decision
    from ray_jobs.inputs.names import printable
    from ray_jobs.storage import decisions
    from ray_jobs.storage.records import results_uri

    verdict = record.verdict
    about = [printable(describe_decision(each), 2500) for each in decisions.list_about(run_uri, record)]
    facts = {
        "checkpoint": f"{printable(record.checkpoint.name)}  {printable(record.checkpoint.uri, 500)}",
        "suite": printable(record.suite),
        "published": f"{record.published_at:%Y-%m-%d %H:%M} UTC",
        "verdict": f"{verdict.outcome}: {printable(verdict.reason, 2000)}",
        "decisions": f"\n{'':<12}".join(about) or "none",
        "baseline": printable(verdict.baseline.run_uri, 500) if verdict.baseline else "none",
        "anchor": printable(verdict.anchor.run_uri, 500) if verdict.anchor else "none",
        "images": ", ".join(f"{count:,} {printable(what)}" for what, count in record.images.items()),
        "run": printable(run_uri, 500),
        "report": f"{printable(results_uri(run_uri, verdict), 500)}/report.html",
    }
    for name, fact in facts.items():
        print(f"{name:<12}{fact}")
    print()
    rows = [
        (printable(name), _format_number(summary.mean), _format_number(summary.standard_error), f"{summary.n:,}",
         printable(summary.unit))
        for name, summary in record.metrics.items()
    ]  # fmt: skip
    _print_table(("metric", "mean", "error", "images", "unit"), rows)


def _format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Prints aligned columns, two spaces apart."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
