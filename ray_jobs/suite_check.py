"""Look at a suite, its images, a checkpoint and the judge as the jobs will, before a GPU is asked for.

    python -m ray_jobs.suite_check --suite demo --checkpoint demo/checkpoints/step-0800 --html check.html

Prints counts, five images as they will be used, the prompt as the model gets it, and everything that is wrong or odd,
in one go. It needs no GPU and no Ray cluster, and writes nothing but the page. Exit codes are those of the jobs: 0, 2
where bad input would stop one, 1 for trouble. A doubt stops nothing.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from ray_jobs.checks.checking import check_suite
from ray_jobs.checks.page import html_page, text_page

log = logging.getLogger("assay")
SAMPLE, MOST = 50, 2000  # images looked at


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.suite_check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--suite", required=True, help="a name in dags/suites, or a YAML file")
    parser.add_argument("--checkpoint", help="URI of a Hugging Face model directory or of a LoRA adapter")
    parser.add_argument("--judge", action="store_true", help="have the judge answer about the five images")
    parser.add_argument("--sample", type=int, default=SAMPLE, help=f"images to prepare, at most {MOST} (default 50)")
    parser.add_argument("--html", type=Path, help="also write a page for a browser to this file")
    given = parser.parse_args(arguments)
    if not 1 <= given.sample <= MOST:
        parser.error(f"--sample must be from 1 to {MOST}")
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)  # the page has the rest
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    checked = check_suite(given.suite, given.checkpoint, given.sample, given.judge)
    print(text_page(checked))
    code = checked.findings.exit_code
    if given.html:
        try:
            given.html.write_text(html_page(checked), encoding="utf-8")
        except OSError as error:
            print(f"--html {given.html}: cannot be written ({error.strerror}); name another file", file=sys.stderr)
            return code or 2
    return code


if __name__ == "__main__":
    sys.exit(main())
