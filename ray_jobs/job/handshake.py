"""Checks that Airflow's version of Assay and the job's version can work together.

The frame calls `check` in the job's driver before the job touches anything. Airflow submits each job with
`ASSAY_AIRFLOW=<version>:<protocol>`. The job compares the protocol with its own. If the two cannot work together, the
job ends as bad input, with one line. A job that a person starts has no such variable.
"""

import os
import re

from ray_jobs.inputs.errors import InputError

VERSION = "0.1.0"  # as in pyproject.toml
PROTOCOL = 1  # raised when jobs of the version before cannot read the specs of this one
OLDEST = 1  # protocol of the oldest Airflow whose specs the jobs of this version can read
VARIABLE = "ASSAY_AIRFLOW"


def say() -> str:
    """Returns Airflow's version and protocol, as text that is safe in a shell."""
    return f"{VERSION}:{PROTOCOL}"


def check() -> None:
    """Raises InputError if this job and the Airflow that submitted it cannot work together."""
    sender = os.environ.get(VARIABLE)
    if sender is None:
        return
    match = re.fullmatch(r"([0-9A-Za-z.+-]{1,40}):([0-9]{1,9})", sender)
    if match is None:
        raise InputError(f"{VARIABLE} is not <version>:<protocol>; unset it, or submit the job by Airflow")
    version, protocol = match[1], int(match[2])
    if protocol > PROTOCOL:
        raise InputError(
            f"Airflow runs Assay {version}, Ray runs Assay {VERSION}: upgrade the image of the Ray cluster"
        )
    if protocol < OLDEST:
        raise InputError(f"Airflow runs Assay {version}, Ray runs Assay {VERSION}: upgrade Airflow's image")
