"""The command that compares two published runs."""

import click

from ray_jobs.command_line.frame import json_option, list_exit_codes, start_program


@click.command(epilog=list_exit_codes("the runs are compared, whichever is better"))
@click.argument("baseline", metavar="RUN")
@click.argument("candidate", metavar="RUN")
@click.option("--output", default="compare.html", show_default=True, metavar="FILE", help="Where to write the page.")
@json_option
def compare(baseline: str, candidate: str, output: str, as_json: bool) -> int:
    """Compare two published runs, image by image.

    RUN is the URI of a run's folder or of its record.json. The first run is the baseline. Both runs need the same
    golden set. Prints a table of the metrics that mean the same in both runs, and writes a page like a verdict's. There
    is no verdict: every difference is advisory, with its 95% interval. Needs no GPU and no Ray cluster, and measures
    nothing again.

    \b
    Example:
      assay compare s3://assay/runs/step-0300-1a2b3c4d/5e6f s3://assay/runs/step-0800-7a8b9c0d/1e2f
    """
    return start_program("compare", baseline_uri=baseline, candidate_uri=candidate, output=output, as_json=as_json)
