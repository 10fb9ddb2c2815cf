"""
### Route checkpoints to validation

Runs every night, and when the watcher sees that a checkpoint is complete. It lists the folders of `ASSAY_CHECKPOINTS`
and skips incomplete ones and those that have a record in the suite `ASSAY_ROUTER_SUITE`. It triggers
`validate_checkpoint` for the rest, oldest step first and one after the other (pool `router`), so each may be the
baseline of the next.

**A whole training run, in one click:** trigger this DAG with the run's folder. Its checkpoints go through one warm
engine, and each verdict is there when its run is done. Checkpoints that arrive meanwhile wait for the next pass.

A checkpoint that was overwritten in place is another checkpoint and is validated again. Running this DAG again is
always safe.

**On call:** vlm-oncall.

When a task is red, the last line of its log names the thing and the remedy. Do what it says, then clear the task:

- `reconcile`: the suite is missing, or the folder of checkpoints or the storage root cannot be read at all. One odd
  folder never makes it red: its log, and the XCom `summary`, name each skipped folder and the remedy.
- `validate`: `validate_checkpoint` could not be triggered. Look at the DAGs' import errors. It is **not** red when a
  validation failed: then the run of that validation is red. A FAIL is no failure: its run is green.
- `go_on`: the next pass could not be triggered. It is skipped unless this pass was cut at 200 validations.

`reconcile` is skipped where `ASSAY_CHECKPOINTS` is not set and no folder was given.

A run that ended without a record is tried again. After trouble, the next arrival tries it, at most once per hour and
less often after each try, and so does every night. After bad input, it is tried when the suite has changed, or when a
person clears the run or triggers this DAG. If reading a folder failed twice in an unexpected way, the folder is in
quarantine until it changes; the log names the file to delete to end that. The schedule is `ASSAY_NIGHTLY_CRON` (02:00
UTC).
"""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable, Param, dag, task
from assay_airflow import limits, run_conf, run_note, tasks
from assay_airflow.exceptions import RETRIES
from assay_airflow.operators.continue_pass import ContinuePassOperator
from assay_airflow.operators.trigger_validation import TriggerValidationOperator
from assay_airflow.suite_choices import offer_suites
from assay_airflow.triggers.checkpoint_prefix import CheckpointPrefixTrigger

landed = Asset(
    "checkpoint_landed",
    group="assay",
    watchers=[AssetWatcher(name="checkpoint_prefix", trigger=CheckpointPrefixTrigger())],
)
nightly = CronTriggerTimetable(os.environ.get("ASSAY_NIGHTLY_CRON", "0 2 * * *"), timezone="UTC")


@dag(
    schedule=AssetOrTimeSchedule(timetable=nightly, assets=[landed]),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    dagrun_timeout=limits.PASS,
    tags=["assay", "router"],
    doc_md=__doc__,
    default_args={
        "owner": "vlm-oncall",
        **RETRIES,
        "pre_execute": run_conf.check_conf,
        "execution_timeout": timedelta(hours=2),
    },
    params={
        "checkpoints": Param(
            None,
            type=["null", "string"],
            title="Training run",
            description="URI of a folder whose folders are checkpoints. All without a record in the suite are "
            "validated, oldest step first. Empty: ASSAY_CHECKPOINTS.",
        ),
        "suite": Param(
            None,
            type=["null", "string"],
            title="Suite",
            **offer_suites(None),
            description="What to validate with: the name of a file in dags/suites. Empty: ASSAY_ROUTER_SUITE.",
        ),
        "occasion": Param(
            None,
            enum=[None, "arrival", "night", "person"],
            title="Occasion",
            section="Set by the router",
            description="Set by a pass that was cut: its own occasion. Ignored in a run that a person triggers.",
        ),
        "after": Param(
            None,
            type=["null", "string"],
            maxLength=255,
            title="After",
            section="Set by the router",
            description="Set by a pass that was cut: the name of the last checkpoint that it requested.",
        ),
    },
)
def checkpoint_router() -> None:
    @task
    def reconcile(params: Any = None, dag_run: Any = None, ti: Any = None) -> list[dict[str, Any]]:
        def count_runs(run_ids: list[str], states: list[str] | None) -> int:
            return int(ti.get_dr_count("validate_checkpoint", run_ids=run_ids, states=states))

        def tell(summary: dict[str, Any]) -> None:
            ti.xcom_push(key="summary", value=summary)
            run_note.write_note(run_note.escape_markdown(summary["note"]), ti.dag_id, ti.run_id)

        run_conf.check_params(params, "checkpoint_router")
        return tasks.reconcile(
            dag_run.run_type,
            count_runs,
            params["checkpoints"],
            params["suite"],
            tell,
            params["occasion"],
            params["after"],
        )

    requests: Any = reconcile()

    # Green if the validation ended, with any verdict. Waiting for it keeps the validations in order.
    TriggerValidationOperator.partial(
        task_id="validate",
        trigger_dag_id="validate_checkpoint",
        logical_date=None,
        wait_for_completion=True,
        deferrable=True,
        allowed_states=["success", "failed"],
        failed_states=[],
        skip_when_already_exists=True,
        poke_interval=2,  # seconds; the next validation waits for it, and only the pool's slots poll at once
        pool="router",
        map_index_template="{{ task.trigger_run_id[:250] }}",  # its column's length
    ).expand_kwargs(requests)
    requests >> ContinuePassOperator(task_id="go_on", of="reconcile")


checkpoint_router()
