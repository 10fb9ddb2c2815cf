"""
### Audit the captions of warm engines

Every night, this DAG takes the newest run of each suite from the last 24 hours whose captions come from an engine
with swapped weights. A fresh engine captions a sample of its images again (`engine.audit` of the suite, 64), and the
captions must be the same. So a wrong weight that passed every check is noticed by morning. Captions of an engine that
was started for them need no audit. An audited run is not audited again.

**By hand:** trigger this DAG with a checkpoint that was validated. It is audited whichever engine made its captions.

**On call:** vlm-oncall. Clearing a task is always safe: an audit is written once, and a second try repeats its
result.

When a task is red, the last line of its log names the thing and the remedy:

- `choose`: the storage root cannot be read, or the checkpoint that was named was never validated.
- `wait_for_ray`: the Ray cluster does not answer, or has no agent to start a job. Look at the Ray head and at
  connection `ray_default`.
- `audit`: if captions **are not what a fresh engine says**, the verdict of that run rests on wrong captions. So may
  the verdicts of other checkpoints that a warm engine served that night. `audit.json` beside the captions has the
  texts. Set `engine.kind: ray_data_llm` in the suite, which starts an engine for each job. Validate these checkpoints
  again with force, and report the audit to the platform team. If the checkpoint was overwritten or deleted since, its
  captions can no longer be audited. Bad input was not tried again; trouble was tried again for hours.

All tasks are *skipped* where there is nothing to audit. The schedule is `ASSAY_AUDIT_CRON` (06:00 UTC).
"""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, task
from assay_airflow import limits, run_conf, tasks
from assay_airflow.exceptions import RETRIES
from assay_airflow.notices.notifier import AuditNotifier
from assay_airflow.operators.ray_job import RayJobOperator
from assay_airflow.sensors.ray_ready import RayReadySensor
from assay_airflow.suite_choices import offer_suites


@dag(
    schedule=CronTriggerTimetable(os.environ.get("ASSAY_AUDIT_CRON", "0 6 * * *"), timezone="UTC"),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    dagrun_timeout=limits.AUDIT_RUN,
    tags=["assay", "audit"],
    doc_md=__doc__,
    default_args={
        "owner": "vlm-oncall",
        **RETRIES,
        "pre_execute": run_conf.check_conf,
        "execution_timeout": timedelta(minutes=30),
    },
    params={
        "checkpoint": Param(
            None,
            type=["null", "string"],
            title="Checkpoint",
            description="URI of a validated checkpoint, or of a run. The checkpoint's newest run in each suite is "
            "audited. Empty: runs of the last 24 hours that a warm engine captioned and that have no audit.",
        ),
        "suite": Param(
            None,
            type=["null", "string"],
            title="Suite",
            **offer_suites(None),
            description="Audit runs of this suite only. Empty: of all suites.",
        ),
    },
)
def audit_engine() -> None:
    @task
    def choose(params: Any = None) -> list[str]:
        run_conf.check_params(params, "audit_engine")
        return tasks.select_audits(params["checkpoint"], params["suite"])

    specs: Any = choose()
    ray = RayReadySensor(task_id="wait_for_ray", patience=limits.RAY)
    audit = RayJobOperator.partial(
        task_id="audit",
        stage="audit",
        job_timeout=limits.JOBS["audit"],
        pool="gpu",
        on_failure_callback=AuditNotifier(),
        map_index_template="{{ task.spec_uri.split('/')[-3][:250] }}",
    ).expand(spec_uri=specs)
    specs >> ray >> audit


audit_engine()
