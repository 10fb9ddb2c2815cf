"""Print how the mean of a metric moved over the runs of a suite.

python examples/list_runs.py ROOT SUITE METRIC
"""

import sys

from ray_jobs import api


def main(root: str, suite: str, metric: str) -> None:
    for run in api.list_records(root, suite):
        mean, error = run.means.get(metric, (None, None))
        value = "no value" if mean is None else f"{mean:.4g} ± {error or 0:.2g}"
        print(f"{run.published_at:%Y-%m-%d}  {run.checkpoint.name}  {run.outcome}  {metric} {value}")


if __name__ == "__main__":
    main(*sys.argv[1:])
