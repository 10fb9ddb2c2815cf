"""One pass of the router in a process that a checkpoint ends: `killed_pass.py ROOT CHECKPOINTS HOW`.

Reading the checkpoint `deadly` ends the process as HOW says. The last line is the pass's result as JSON.
"""

import json
import os
import resource
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk.exceptions import AirflowTaskTimeout
from assay_airflow import router, survey
from assay_airflow.fingerprint_cache import resolve

from ray_jobs.contract.spec import Checkpoint

ROOT, CHECKPOINTS, HOW = sys.argv[1:]


def read(root: str, uri: str, base_model: str | None = None) -> Checkpoint:
    os.write(1, f"reading {uri}\n".encode())  # in one piece, because other threads print too
    if Path(uri).name == "deadly":
        die()
    return resolve(root, uri, base_model)


def die() -> None:
    if HOW == "kill -9":
        os.kill(os.getpid(), signal.SIGKILL)
    if HOW == "a crash":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()
    if HOW == "Airflow's timeout":
        raise AirflowTaskTimeout("Timeout")


if __name__ == "__main__":
    setattr(survey, "resolve", read)  # noqa: B010  # by its name: survey imports the function, and does not export it
    result = router.run_pass(ROOT, "small", CHECKPOINTS, lambda *_: 0, "arrival", datetime.now(UTC))
    print(json.dumps({"passed_over": result.passed_over, "requests": len(result.requests)}))
