"""Run one stage of a validation as a Ray job, wherever it was left off."""

import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

from airflow.sdk import BaseOperatorLink, Context
from airflow.sdk.execution_time.xcom import XCom

from assay_airflow import limits
from assay_airflow.failures import RayJobFailed
from assay_airflow.hooks.ray import Job, RayHook
from assay_airflow.operators.untemplated import UntemplatedOperator
from assay_airflow.stages import BAD_INPUT_EXIT, StageJob, failure_of
from assay_airflow.timeouts import fail_timeout, forget_timeout, list_progress
from assay_airflow.triggers.ray_job import RayJobTrigger
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.storage.specs import load_spec


class RayJobLink(BaseOperatorLink):
    """A button on the task: the job's page on the Ray dashboard."""

    name = "Ray job"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""


class RayJobOperator(UntemplatedOperator):
    """Submit `python -m ray_jobs.{stage} --spec {spec_uri}` and wait in the triggerer until it is over.

    Does nothing when the stage is complete. Attaches to the job when it runs already, submitted by an earlier try or by
    another run that needs the same result. Returns the URI of the file that says the stage is complete.

    The same stage's job of `then_spec_uri` is submitted behind this one, at once when that runs already or is over,
    else when it is done, and not waited for: whoever needs its result attaches to it.

    A try may take `job_timeout` at most, and less where the number of images says so (`limits.job_time`). A job that
    was stopped for its time goes on in another try; two tries that made nothing are bad input (`timeouts.py`).
    """

    template_fields: Sequence[str] = ("spec_uri", "then_spec_uri")
    operator_extra_links = (RayJobLink(),)
    ui_color = "#cde7f7"

    def __init__(
        self,
        *,
        stage: str,
        spec_uri: str,
        job_timeout: timedelta,
        then_spec_uri: str | None = None,
        ray_conn_id: str = RayHook.default_conn_name,
        poll_interval: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stage, self.spec_uri, self.job_timeout = stage, spec_uri, job_timeout
        self.then_spec_uri, self.ray_conn_id, self.poll_interval = then_spec_uri, ray_conn_id, poll_interval
        self._submission_id: str | None = None

    def execute(self, context: Context) -> str:
        return self._run(context)

    def _run(self, context: Context, stops: int = 0) -> str:
        spec, ti = load_spec(self.spec_uri), context["ti"]
        job = StageJob.of(self.stage, spec)
        if job.is_done() and not job.force:
            ti.xcom_push(key=RayJobLink().xcom_key, value="")  # or Airflow logs an error that there is none
            self.log.info("%s is already complete: %s", self.stage, job.marker)
            self._submit_then(context)
            return job.marker
        before = list_progress(self.stage, spec)
        found = self._claim(job, context)
        submission_id = self._submission_id
        assert submission_id
        page = RayHook(self.ray_conn_id).address().job_page(submission_id)
        ti.xcom_push(key=RayJobLink().xcom_key, value=page)
        self.log.info("Ray job %s: %s", submission_id, page)
        if found and found["status"] in ("RUNNING", "SUCCEEDED"):  # of two that start at once, either may be first
            self._submit_then(context)
        if found and found["status"] == "SUCCEEDED":
            return job.marker
        deadline = time.time() + self._limit(spec).total_seconds()
        trigger = RayJobTrigger(self.ray_conn_id, submission_id, deadline, self.poll_interval)
        self.defer(trigger=trigger, method_name="execute_complete", kwargs={"stops": stops, "before": before})

    def execute_complete(
        self, context: Context, event: dict[str, Any], stops: int = 0, before: str | None = None
    ) -> str:
        """Take the trigger's event: the marker's URI, InputError for what no retry can mend, else RayJobFailed.

        A job stopped from elsewhere was most likely stopped for another task: for the one that this task follows when
        it was cleared, or for a run that shared the job and was given up. So the first stop is answered with a new job.
        """
        spec = load_spec(self.spec_uri)
        job = StageJob.of(self.stage, spec)
        name, status = f"Ray job {event['submission_id']}", event["status"]
        if status == "SUCCEEDED":
            if not job.has_result():
                raise RayJobFailed(f"{name} succeeded but left no {job.marker}; it is submitted anew")
            forget_timeout(self.stage, spec)
            self._submit_then(context)
            return job.marker
        if status == "STOPPED" and not stops:
            self.log.info("%s was stopped from elsewhere", name)
            return self._run(context, stops + 1)
        if status == "REFUSED":
            raise InputError(event["message"])
        if status == "FAILED" and (failure := failure_of(self.stage, event, spec.root)):
            raise InputError(failure.message) if failure.kind == "bad-input" else RayJobFailed(failure.message)
        if status == "FAILED" and event["exit_code"] == BAD_INPUT_EXIT:
            raise InputError(f"{name}: {_line(event['message'])}")
        if status == "TIMEOUT":
            fail_timeout(self.stage, spec, f"{name} was stopped: not done within {self._limit(spec)}", before)
        raise RayJobFailed(
            {
                "FAILED": f"{name} failed and left no reason: {_line(event['message'])}",
                "STOPPED": f"{name} was stopped, like the one before it, by a person or another run",
                "LOST": f"{name} is unknown to Ray: its head was restarted; what is done is kept, the rest is redone",
                "UNREACHABLE": event["message"],
            }.get(status, f"{name} ended as {printable(str(status), 40)}, which this Assay does not know")
        )

    def _limit(self, spec: Spec) -> timedelta:
        return limits.job_time(self.stage, spec, self.job_timeout)

    def on_kill(self) -> None:
        """Stop the job when the task is killed before the trigger has it; from then on the trigger does."""
        if self._submission_id:
            self.log.info("Stopping Ray job %s", self._submission_id)
            RayHook(self.ray_conn_id).stop(self._submission_id)

    def _claim(self, job: StageJob, context: Context) -> Job | None:
        """Make this task wait for the one job that may make the result: found running, or submitted now.

        Walks up the generations past those that ended without a result. All who need the result walk the same ids, and
        a generation is opened only when the one before is over, so no two jobs write the same content.
        """
        hook, asker = RayHook(self.ray_conn_id), _asker(context)
        for generation in count():
            submission_id = job.submission_id(generation)
            found = hook.job(submission_id)
            if found is None:
                self._submission_id = submission_id  # before the request: on_kill must know what may have started
                if hook.submit(job.payload(generation, asker)):
                    self.log.info("Submitted Ray job %s", submission_id)
                    return None
                found = hook.job(submission_id) or {"status": "PENDING"}
            if found["status"] in ("FAILED", "STOPPED") or (found["status"] == "SUCCEEDED" and not job.is_done()):
                self.log.info("Ray job %s ended %s without a result", submission_id, found["status"])
                continue
            self._submission_id = submission_id
            self.log.info("Attached to Ray job %s (%s)", submission_id, found["status"])
            return found
        raise AssertionError("count() does not end")

    def _submit_then(self, context: Context) -> None:
        """Submit the job of `then_spec_uri` when its result is missing and nobody ever submitted it.

        What became of one that was is for the run that needs it. Nothing here is worth failing this task.
        """
        if not self.then_spec_uri:
            return
        try:
            job = StageJob.of(self.stage, load_spec(self.then_spec_uri))
            hook, submission_id = RayHook(self.ray_conn_id), job.submission_id(0)
            if job.is_done() or hook.job(submission_id) is not None:
                return
            if hook.submit(job.payload(0, _asker(context))):
                self.log.info("Submitted Ray job %s for the run that follows", submission_id)
        except Exception as error:
            self.log.warning("Nothing was submitted for the run that follows: %s", _line(str(error)))


def _asker(context: Context) -> dict[str, str]:
    ti = context["ti"]
    return {"airflow_dag": ti.dag_id, "airflow_run": ti.run_id, "airflow_task": ti.task_id}


def _line(message: str) -> str:
    """Ray's message in one line, the tail of it, where the exception is."""
    return printable(" ".join(message.split())[-500:], 500) or "no message"
