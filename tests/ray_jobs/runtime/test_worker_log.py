"""Each test is a process of its own, because logging is set up once per process, and pytest has set it up here."""

import subprocess
import sys

import pytest

LINE = "import logging; logging.getLogger('assay').info('engine: started in 2.1 s'); "
SHOW = "from ray_jobs.runtime.worker_log import show_log_lines; show_log_lines(); "


@pytest.mark.parametrize(("program", "count"), [(LINE, 0), (SHOW + LINE, 1), (SHOW + SHOW + LINE, 1)])
def test_a_line_is_shown_once(program: str, count: int) -> None:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (run.stdout.count(" engine: started in 2.1 s\n"), run.stderr) == (count, "")
