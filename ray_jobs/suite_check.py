"""Check a suite, its images, a checkpoint and the judge as the jobs would use them, without a GPU.

    python -m ray_jobs.suite_check --suite demo --checkpoint demo/checkpoints/step-0800 --html check.html

Prints counts, five images as the jobs would use them, the prompt as the model gets it, and every fault and doubt. It
needs no Ray cluster and writes only the page. The exit code is 2 if bad input would stop a job, 1 if trouble would, and
else 0. A doubt does not change it.
"""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ray_jobs.checks.page import render_html, render_text
from ray_jobs.checks.run import CheckResult, check_suite


def main(
    suite_name: str, checkpoint_uri: str | None, ask_judge: bool, sample: int, html: Path | None, as_json: bool = False
) -> int:
    """Checks the suite, prints the page, and returns the exit code."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    result = check_suite(suite_name, checkpoint_uri, sample, ask_judge)
    print(json.dumps(summary_of(result), indent=1) if as_json else render_text(result))
    code = result.findings.exit_code
    if html:
        try:
            html.write_text(render_html(result), encoding="utf-8")
        except OSError as error:
            print(f"--html {html}: cannot be written ({error.strerror}); name another file", file=sys.stderr)
            return code or 2
    return code


def summary_of(result: CheckResult) -> dict[str, Any]:
    """Returns the counts and the findings of a check, which a program can read."""
    listing = result.listing
    return {
        "suite": result.suite.name if result.suite else result.suite_name,
        "checkpoint": result.checkpoint_uri,
        "exit_code": result.findings.exit_code,
        "images_listed": listing.image_count if listing else None,
        "images_used": listing.sample_count if listing else None,
        "images_looked_at": len(result.images),
        "findings": [
            {"kind": finding.kind, "about": finding.about, "text": finding.text} for finding in result.findings.items
        ],
    }


if __name__ == "__main__":
    from ray_jobs.command_line import suite
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(suite.suite_check))
