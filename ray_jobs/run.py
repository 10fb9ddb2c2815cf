"""Validate one checkpoint from start to end in this process, without Airflow: plan, the three stages on Ray, publish.

    python -m ray_jobs.run demo/checkpoints/step-0800 --suite demo

The stages are the jobs that Airflow submits, in the same frame. Each stage logs its progress. A stage that fails writes
`failure.json`, and the command ends with the stage's exit code. Finished stages are reused, so re-running is free.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from ray_jobs import caption, evaluate, preprocess
from ray_jobs.command_line.run import VERDICTS
from ray_jobs.plan import plan
from ray_jobs.publish import publish, summary_of, verdict_line

log = logging.getLogger("assay")


def main(
    checkpoint_uri: str,
    suite_name: str,
    root: str,
    baseline: str | None = None,
    force: bool = False,
    as_json: bool = False,
) -> int:
    """Run all stages and print the verdict. Returns the verdict's exit code, or that of the stage that failed.

    Raises the errors of `plan` and `publish`. With `as_json`, stdout has the verdict alone, and the log goes to stderr.
    """
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S",
        stream=sys.stderr if as_json else sys.stdout,
    )  # fmt: skip
    log.setLevel(logging.INFO)
    spec = plan(root, suite_name, checkpoint_uri, baseline, force=_new_request() if force else None, by_hand=True)
    for stage in (preprocess, caption, evaluate):
        code: int = stage.main(spec.uri)
        if code:
            return code
    record = publish(spec)
    summary = summary_of(record)
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        print(verdict_line(record))
        print(f"report: {summary['report_uri']}")
    return VERDICTS[record.verdict.outcome]


def _new_request() -> str:
    """Returns a new name for a forced request, because a request with an earlier name is not done again."""
    return f"by-hand-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"


if __name__ == "__main__":
    from ray_jobs.command_line import run
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(run.run))
