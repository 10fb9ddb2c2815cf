"""
### Tell people of verdicts that are late

Every hour, this DAG looks for checkpoints in `ASSAY_CHECKPOINTS` that have been complete for `ASSAY_LATE_HOURS` (6) and
have no verdict in the suite `ASSAY_ROUTER_SUITE`. It tells people through the connections that `ASSAY_NOTIFY` names,
once of each checkpoint. Without `ASSAY_NOTIFY` it has no schedule.

**On call:** vlm-oncall. Clearing the task is always safe.

When the task is red, the last line of its log names the thing and the remedy:

- `look`: the folder of checkpoints or the storage root cannot be read.

The task is *skipped* where no verdict is late. To find out why a verdict is late, look at the newest run of
`checkpoint_router`, which names each checkpoint that it passed over, and at the run of the checkpoint's validation.
"""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, task
from assay_airflow import limits, run_conf
from assay_airflow.exceptions import RETRIES
from assay_airflow.notices import late
from assay_airflow.suite_choices import offer_suites

hourly = CronTriggerTimetable("20 * * * *", timezone="UTC")


@dag(
    schedule=hourly if os.environ.get("ASSAY_NOTIFY") else None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    dagrun_timeout=limits.AUDIT_RUN,
    tags=["assay", "notices"],
    doc_md=__doc__,
    default_args={
        "owner": "vlm-oncall",
        **RETRIES,
        "pre_execute": run_conf.check_conf,
        "execution_timeout": timedelta(minutes=20),
    },
    params={
        "suite": Param(
            None,
            type=["null", "string"],
            title="Suite",
            description="The suite whose verdicts are looked for. Empty: ASSAY_ROUTER_SUITE.",
            **offer_suites(None),
        ),
    },
)
def late_verdicts() -> None:
    @task
    def look(params: Any = None) -> list[str]:
        run_conf.check_params(params, "late_verdicts")
        return late.tell_late_verdicts(params["suite"])

    look()


late_verdicts()
