"""
### Decide about one run

Asks a person whether a published run is accepted, and keeps the answer with its reason: overrule a FAIL, approve an
INCONCLUSIVE, promote or reject a PASS. `validate_checkpoint` triggers it where the suite's `gate.ask` has the verdict.

**By hand:** trigger this DAG with any published run, then answer on its page *Required actions*.

The verdict that was measured stays as it is. An accepted run is the baseline of the next runs that ask for
`last-accepted`. Who may answer is a matter of Airflow's rights on this DAG. The task waits without a worker and without
a slot. If nobody answers in `ASSAY_DECISION_DAYS` (14), the task is skipped and the verdict stands.

**On call:** vlm-oncall. Clearing the task is always safe: the question is put again.

When a task is red, the last line of its log names the thing and the remedy:

- `decide`: the run has no record, it is INCOMPLETE so there is nothing to accept, the answer has no reason, or storage
  cannot be written.
"""

import os
from datetime import timedelta

from airflow.sdk import Param, dag
from assay_airflow import run_conf
from assay_airflow.exceptions import RETRIES
from assay_airflow.operators.decide import DecideOperator

PATIENCE = timedelta(days=float(os.environ.get("ASSAY_DECISION_DAYS", "14")))


@dag(
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    dagrun_timeout=PATIENCE + timedelta(days=1),
    max_active_runs=1000,  # each waits for a person
    max_active_tasks=1000,
    tags=["assay", "decision"],
    doc_md=__doc__,
    default_args={"owner": "vlm-oncall", **RETRIES, "pre_execute": run_conf.check_conf},
    params={
        "run": Param(
            None,
            type="string",
            minLength=1,
            title="Run",
            description="URI of a published run's folder; `assay records list` prints it.",
            examples=["s3://bucket/assay/runs/step-0809-5acd7fa7/1e2f3a4b5c6d7e8f"],
        )
    },
)
def decide_run() -> None:
    DecideOperator(
        task_id="decide",
        response_timeout=PATIENCE,
        execution_timeout=timedelta(minutes=30),  # of the work before the question and after the answer
    )


decide_run()
