"""The suites that a trigger form offers. A DAG file calls this while Airflow parses it, so it only lists one folder."""

import os
from typing import Any

from ray_jobs.inputs.names import find_name_fault
from ray_jobs.planning.suite_files import are_files_allowed, suites_folder
from ray_jobs.storage import uris

MAX_OFFERED = 200


def offer_suites(*others: str | None) -> dict[str, Any]:
    """The part of a param's schema that lists the suites, after `others`.

    The form offers a list to choose from, and Airflow refuses any other name. Where a file may be named as the suite
    (ASSAY_SUITE_FILES), the names are proposals. If the folder is not on this machine or is empty, any name may be
    entered, and the task `plan` refuses a wrong one.
    """
    names = _list_suites(suites_folder())
    if not names:
        return {}
    if are_files_allowed():
        return {"examples": names}
    return {"enum": [*others, *(name for name in names if name not in others)]}


def _list_suites(folder: str) -> list[str]:
    if uris.is_s3(folder):
        return []
    try:
        files = os.listdir(uris.make_absolute(folder))
    except OSError:
        return []
    names = sorted(file.removesuffix(".yaml") for file in files if file.endswith(".yaml"))
    return [name for name in names if find_name_fault(name) is None][:MAX_OFFERED]
