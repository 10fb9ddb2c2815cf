"""A session whose second step does not end: `test_gpu_session.py` kills it. Argument: the folder of results."""

import sys
import time
from pathlib import Path

from benchmarks.session_runs import Runner
from benchmarks.session_steps import Step
from benchmarks.session_table import write_table

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    steps = [
        Step("first", "answers first", 0.0, ("sh", "-c", "echo '| first | 1 |'")),
        Step(
            "second",
            "answers second",
            0.0,
            ("sh", "-c", f"echo $$ > {folder}/pid; echo '| under way | 2 |'; exec sleep 1000"),
        ),
    ]
    runner = Runner(folder, 0, time.monotonic() + 600, Path.cwd(), poll=0.05)
    runner.run_all(steps, lambda: write_table(folder, steps))
