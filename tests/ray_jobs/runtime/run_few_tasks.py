"""Runs four tasks on the Ray cluster: `die MARK` kills the first worker once, `fail MARK` raises an InputError.

Prints JSON: the driver's process and the results, or the error as the frame finds it.
"""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from ray_jobs.inputs.errors import InputError
from ray_jobs.job import frame
from ray_jobs.runtime.ray_tasks import run_tasks


def work(task: dict[str, Any], what: str, mark: str) -> dict[str, Any]:
    """The task's number and its process."""
    if what == "die" and task["number"] == 1 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fail" and task["number"] == 2:
        raise InputError("image 2: is no image; remove it")
    return {"number": task["number"], "pid": os.getpid()}


if __name__ == "__main__":
    frame.connect()
    try:
        rows = list(
            run_tasks([{"number": n} for n in range(4)], partial(work, what=sys.argv[1], mark=sys.argv[2]), "x")
        )
        print(json.dumps([os.getpid(), rows]))
    except Exception as error:
        print(json.dumps(str(frame.cause(error)).partition("\n")[0]))
