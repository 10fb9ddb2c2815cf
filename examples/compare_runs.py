"""Print on which metrics one run differs from another.

python examples/compare_runs.py BASELINE_RUN CANDIDATE_RUN
"""

import sys

from ray_jobs import api


def main(baseline_uri: str, candidate_uri: str) -> None:
    compared = api.compare_runs(baseline_uri, candidate_uri)
    print(f"{compared.candidate.checkpoint.name} against {compared.baseline.checkpoint.name}")
    for comparison in compared.comparisons:
        if comparison.difference is not None:
            interval = "" if comparison.low is None else f"  [{comparison.low:+.4g}, {comparison.high:+.4g}]"
            print(f"{comparison.metric}  {comparison.difference:+.4g}{interval}  over {comparison.n} images")
    for metric, reason in compared.left_out.items():
        print(f"{metric}  not compared: {reason}")


if __name__ == "__main__":
    main(*sys.argv[1:])
