"""Compare any two published runs on one golden set, image by image, without a GPU, Ray or new measurements.

    python -m ray_jobs.compare RUN RUN [--output compare.html]

RUN is the URI of a run or of its record.json. The first run is the baseline. The command prints a table and writes a
page like a verdict's. There is no verdict: every difference is advisory, with its 95% interval.
"""

import json
import sys

from ray_jobs.comparison.comparable_metrics import find_comparable_metrics
from ray_jobs.comparison.compare_runs import compare_runs
from ray_jobs.comparison.published_run import load_run
from ray_jobs.comparison.show_comparison import build_page, format_table
from ray_jobs.inputs.names import printable
from ray_jobs.storage import objects


def main(baseline_uri: str, candidate_uri: str, output: str, as_json: bool = False) -> int:
    """Compare the runs at the URIs, print the table and write the page. Returns 0. Raises InputError and
    RetryableError."""
    baseline, candidate = load_run(baseline_uri), load_run(candidate_uri)
    metrics, left_out = find_comparable_metrics(baseline, candidate)
    comparisons = compare_runs(baseline, candidate, metrics)
    if not as_json:
        print(format_table(comparisons, candidate))
        for metric, why in left_out.items():
            print(f"left out: {printable(metric)}: {why}")
    objects.write(output, build_page(baseline, candidate, comparisons, left_out).encode())
    if as_json:
        rows = [comparison.model_dump(mode="json") for comparison in comparisons]
        runs = {"baseline": baseline.uri, "candidate": candidate.uri}
        print(json.dumps({**runs, "comparisons": rows, "left_out": left_out, "page": output}, indent=1))
    else:
        print(f"page: {output}")
    return 0


if __name__ == "__main__":
    from ray_jobs.command_line import compare
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(compare.compare))
