"""
### Validate one checkpoint

Captions the suite's golden set with one checkpoint, scores the captions, compares the scores with the baseline's, and
gives a verdict. Every result is found by its content: if you trigger the same checkpoint twice, nothing is captioned
twice.

**On call:** vlm-oncall. This DAG keeps no state but this run's. Clearing a task is always safe: complete results are
kept.

When a task is red, the last line of its log names the thing and the remedy. Do what it says, then clear the task:

- `wait_for_ray`: the Ray cluster does not answer, or has no agent to start a job. Look at the Ray head and at
  connection `ray_default`.
- `wait_for_checkpoint`: the checkpoint is missing, incomplete or damaged. Finish the upload.
- `plan`: a typo in the suite, no such dataset or baseline, no access to storage.
- `plan_following`: the task itself was killed, and `caption` waits for it. It is never red because of what it plans.
- `preprocess`: the images cannot be read. Bad input was not tried again; trouble was tried again for hours.
- `golden_ready`: the golden set's manifest is missing or does not add up. Clear `preprocess`.
- `caption`: vLLM cannot load the model, or the cluster lost the job. The *Ray job* button leads to Ray's own logs.
- `evaluate`: the judge cannot be loaded, its endpoint refuses every question, or the scores do not add up. Answers
  are kept: no question is asked twice.
- `publish`: a stage has not committed, or storage cannot be written. Clear the stage that the line names.
- `verdict`: **nothing is broken.** The checkpoint is worse than its baseline (FAIL), or too much is missing to judge
  (INCOMPLETE). Tell the checkpoint's owner; the log ends with the reason, and the button *Report* leads to the report.
  For an INCOMPLETE run, resolve what its reason names, then clear `evaluate` or trigger the checkpoint again: the run
  is evaluated again.
- `ask`: nobody could be asked about the verdict. Trigger `decide_run` with the run by hand.
- `finish`: no verdict was reached. Look at the task that is red before it.

**The run is green if it reached a verdict, whatever the verdict is.** A red run is broken. The row `verdict` shows the
verdict: green is PASS, red is FAIL or INCOMPLETE, skipped is INCONCLUSIVE.

A *skipped* `verdict` is INCONCLUSIVE: there are too few images to decide, and its log says how many would be enough.
If you mark a task as failed or clear it, its Ray job stops. Another run that shares the job submits it again by
itself. A job that `caption` submitted for the next checkpoint goes on.
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Asset, Param, TaskGroup, TriggerRule, dag, task
from assay_airflow import limits, run_conf, tasks
from assay_airflow.exceptions import RETRIES
from assay_airflow.notices.notifier import VerdictNotifier
from assay_airflow.operators.decide import AskOperator
from assay_airflow.operators.planned_spec import PlannedSpec
from assay_airflow.operators.ray_job import RayJobOperator
from assay_airflow.operators.verdict import PublishOperator, VerdictOperator
from assay_airflow.sensors.checkpoint_whole import CheckpointWholeSensor
from assay_airflow.sensors.golden_ready import GoldenReadySensor
from assay_airflow.sensors.ray_ready import RayReadySensor
from assay_airflow.suite_choices import offer_suites

NOT_NULL: Any = {"not": {"type": "null"}}
verdicts = Asset("assay_verdict", group="assay")


@dag(
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=16,
    dagrun_timeout=limits.RUN,
    tags=["assay", "validation"],
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
            type=["null", "string"],  # without null, the form shows the empty field in red
            minLength=1,
            title="Checkpoint",
            description="Required. URI of a Hugging Face model directory, or of a LoRA adapter, in object storage or "
            "on a shared file system: s3://checkpoints/vlm/step-2000, or /data/checkpoints/step-2000.",
            **NOT_NULL,
        ),
        "suite": Param(
            "demo",
            type="string",
            minLength=1,
            title="Suite",
            **offer_suites("demo"),
            description="What to validate with: the name of a file in dags/suites, without .yaml. To see a new suite's "
            "images, prompt and doubts without a GPU, run `assay suite check NAME --checkpoint URI` on the Ray cluster "
            "(docs/how-to/check-a-suite.md).",
        ),
        "baseline": Param(
            None,
            type=["null", "string"],
            title="Baseline",
            section="Options",
            description="What to compare with instead of the suite's own: last-accepted, previous, none, or the URI of "
            "a checkpoint that was validated with this suite.",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Caption and score again",
            section="Options",
            description="Do both again although their results are complete. The golden set is kept.",
        ),
        "appear_minutes": Param(
            0,
            type="number",
            minimum=0,
            title="Minutes for the checkpoint to appear",
            section="Options",
            description="How long to wait if the URI is empty. The sensor always waits for an upload under way.",
        ),
        "following": Param(
            None,
            type=["null", "string"],
            title="Next checkpoint",
            section="Set by the router",
            description="Set by the router: the checkpoint that is validated after this one. It is fetched meanwhile, "
            "and captioned if there is room.",
        ),
    },
)
def validate_checkpoint() -> None:
    with TaskGroup("wait", tooltip="until Ray and the checkpoint are there", prefix_group_id=False):
        ray = RayReadySensor(task_id="wait_for_ray", patience=limits.RAY)
        whole = CheckpointWholeSensor(
            task_id="wait_for_checkpoint",
            checkpoint="{{ params.checkpoint }}",
            appear_minutes="{{ params.appear_minutes }}",
            patience=limits.CHECKPOINT,
        )

    spec: Any = PlannedSpec()
    with TaskGroup("prepare", tooltip="the spec and the golden set", prefix_group_id=False):
        plan_task: Any = task(tasks.plan)  # Airflow passes `params` and `run_id`, by these names
        plan_next: Any = task(task_id="plan_following", execution_timeout=timedelta(minutes=5))(tasks.plan_next)
        plan, following = plan_task(), plan_next()
        preprocess = RayJobOperator(
            task_id="preprocess", stage="preprocess", spec_uri=spec, job_timeout=limits.JOBS["preprocess"]
        )
        golden = GoldenReadySensor(task_id="golden_ready", spec_uri=spec, patience=limits.GOLDEN)

    with TaskGroup("gpu", tooltip="Ray jobs that need the GPU", prefix_group_id=False):
        caption = RayJobOperator(
            task_id="caption",
            stage="caption",
            spec_uri=spec,
            next_spec_uri=following,
            job_timeout=limits.JOBS["caption"],
            pool="gpu",
            weight_rule="absolute",
            priority_weight=1,
        )
        evaluate = RayJobOperator(
            task_id="evaluate",
            stage="evaluate",
            spec_uri=spec,
            job_timeout=limits.JOBS["evaluate"],
            pool="gpu",
            weight_rule="absolute",
            priority_weight=10,  # before the captions of other runs, so that verdicts come early
        )

    # In no group: Airflow folds groups, and the row `verdict` shows the verdict of each run.
    publish = PublishOperator(task_id="publish", spec_uri=spec, verdicts=verdicts)
    verdict = VerdictOperator(task_id="verdict", spec_uri=spec, on_failure_callback=VerdictNotifier())
    ask = AskOperator(task_id="ask", spec_uri=spec)  # nobody, unless the suite's `gate.ask` has the outcome
    # Decides the state of the run, and costs no worker. The run succeeds if it published a record, so a FAIL is not
    # counted among the failures of the pipeline. docs/adr/0007-states-of-a-verdict.md weighs it.
    finish = EmptyOperator(task_id="finish", trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)

    whole >> plan >> preprocess >> caption >> evaluate >> publish >> verdict
    # Beside that path, so that they delay nothing: only a job needs Ray, and `caption` itself reads the manifest.
    ray >> preprocess >> golden >> evaluate
    plan >> following >> caption
    publish >> ask
    [publish, verdict] >> finish


validate_checkpoint()
