"""Passes of the router in processes that a checkpoint ends.

Each line of stdin asks for one pass: `{"root", "checkpoints", "suites", "ending", "output"}`. It runs in a fork of this
process, which has imported Airflow (1.6 s of a core). Reading the checkpoint `deadly` ends the fork as `ending` says.
The answer is a line with the fork's exit code, negative after a signal. The last line of the file `output` is the
pass's result as JSON.
"""

import json
import os
import resource
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk.exceptions import AirflowTaskTimeout
from assay_airflow import router, survey
from assay_airflow.fingerprint_cache import resolve

from ray_jobs.contract.spec import Checkpoint

LIMIT = 120  # seconds that a pass may take

ending = ""


def read(root: str, uri: str, base_model: str | None = None) -> Checkpoint:
    os.write(1, f"reading {uri}\n".encode())  # in one piece, because other threads print too
    if Path(uri).name == "deadly":
        die()
    return resolve(root, uri, base_model)


def die() -> None:
    if ending == "kill -9":
        os.kill(os.getpid(), signal.SIGKILL)
    if ending == "a crash":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()
    if ending == "Airflow's timeout":
        raise AirflowTaskTimeout("Timeout")


def run_pass(request: dict[str, str]) -> None:
    """The fork's whole life. Does not return."""
    global ending
    code = 1
    try:
        signal.alarm(LIMIT)
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.environ["ASSAY_SUITES"], ending = request["suites"], request["ending"]
        setattr(survey, "resolve", read)  # noqa: B010  # by its name: survey does not export the function it imports
        now = datetime.now(UTC)
        result = router.run_pass(request["root"], "small", request["checkpoints"], lambda *_: 0, "arrival", now)
        print(json.dumps({"passed_over": result.passed_over, "requests": len(result.requests)}), flush=True)
        code = 0
    except BaseException:  # as the interpreter ends, whatever is raised
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        if not (pid := os.fork()):
            run_pass(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
