"""Run one stage of a validation as a Ray job. A new try continues where the last one stopped."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

from airflow.sdk import BaseOperatorLink, Context
from airflow.sdk.execution_time.xcom import XCom

from assay_airflow import limits
from assay_airflow.exceptions import RayJobFailed
from assay_airflow.hooks.ray import Job, RayHook
from assay_airflow.operators.untemplated import UntemplatedOperator
from assay_airflow.stages import BAD_INPUT_EXIT, StageJob, read_failure
from assay_airflow.timeouts import digest_progress, forget_timeout, raise_timeout
from assay_airflow.triggers.ray_job import RayJobTrigger
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.storage.specs import load_spec

WORKER_WAIT_S = 20.0  # a deferral costs 2 to 3 s, so it pays only for a job that takes longer


class RayJobLink(BaseOperatorLink):
    """A button on the task: the job's page on the Ray dashboard."""

    name = "Ray job"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""


class RayJobOperator(UntemplatedOperator):
    """Submit `python -m ray_jobs.{stage} --spec {spec_uri}` and wait until it is over.

    Waits in the worker for the first `worker_wait` seconds, then in the triggerer.

    Does nothing if the stage is complete. If the job runs already, submitted by an earlier try or by another run that
    needs the same result, attaches to it. Returns the URI of the file that says the stage is complete.

    Also submits the same stage's job for `next_spec_uri`: at once if this stage's job runs already or is over, else
    when it is done. This task does not wait for that job; the run that needs its result attaches to it.

    A try may take at most `job_timeout`, and less if the number of images is known (`limits.limit_job_time`). A job
    that was stopped at its limit continues in another try. Two tries without progress end in an
    InputError (`timeouts.py`).
    """

    template_fields: Sequence[str] = ("spec_uri", "next_spec_uri")
    operator_extra_links: Sequence[BaseOperatorLink] = (RayJobLink(),)
    ui_color = "#cde7f7"

    def __init__(
        self,
        *,
        stage: str,
        spec_uri: str,
        job_timeout: timedelta,
        next_spec_uri: str | None = None,
        ray_conn_id: str = RayHook.default_conn_name,
        poll_interval: float = 5.0,
        worker_wait: float = WORKER_WAIT_S,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stage, self.spec_uri, self.job_timeout = stage, spec_uri, job_timeout
        self.next_spec_uri, self.ray_conn_id = next_spec_uri, ray_conn_id
        self.poll_interval, self.worker_wait = poll_interval, worker_wait
        self._submission_id: str | None = None
        self._hook: RayHook | None = None
        self._is_killed = False

    def execute(self, context: Context) -> str:
        return self._run(context)

    def _run(self, context: Context, stops: int = 0) -> str:
        spec, ti = load_spec(self.spec_uri), context["ti"]
        job = StageJob.of(self.stage, spec)
        if job.is_done() and not job.force:
            ti.xcom_push(key=RayJobLink().xcom_key, value="")  # without a value, Airflow logs an error
            self.log.info("%s is already complete: %s", self.stage, job.marker)
            self._submit_next(context)
            return job.marker
        before = digest_progress(self.stage, spec)
        job_info = self._attach_or_submit(job, context)
        submission_id = self._submission_id
        assert submission_id
        page = self._find_hook().address().job_page(submission_id)
        ti.xcom_push(key=RayJobLink().xcom_key, value=page)
        self.log.info("Ray job %s: %s", submission_id, page)
        # Of two pending jobs either may start first, so the next job waits until this one runs.
        if job_info and job_info["status"] in ("RUNNING", "SUCCEEDED"):
            self._submit_next(context)
        if job_info and job_info["status"] == "SUCCEEDED":
            return job.marker
        deadline = time.time() + self._limit(spec).total_seconds()
        trigger = RayJobTrigger(self.ray_conn_id, submission_id, deadline, self.poll_interval)
        event = asyncio.run(trigger.follow(self.worker_wait))
        if event and not self._is_killed:
            return self.execute_complete(context, event, stops, before)
        # Airflow refuses this from a task that was marked or cleared, and accepts it from a worker that shuts down.
        self.defer(trigger=trigger, method_name="execute_complete", kwargs={"stops": stops, "before": before})

    def execute_complete(
        self, context: Context, event: dict[str, Any], stops: int = 0, before: str | None = None
    ) -> str:
        """Return the marker's URI if the trigger's event says that the job succeeded.

        Raises InputError for what no retry can mend, else RayJobFailed. The first time that something else stopped the
        job, submits a new one: most likely another try of this task was cleared, or a run that shared the job was.
        """
        spec = load_spec(self.spec_uri)
        job = StageJob.of(self.stage, spec)
        name, status = f"Ray job {event['submission_id']}", event["status"]
        if status == "SUCCEEDED":
            if not job.has_result():
                raise RayJobFailed(f"{name} succeeded but left no {job.marker}; it is submitted anew")
            forget_timeout(self.stage, spec)
            self._submit_next(context)
            return job.marker
        if status == "STOPPED" and not stops:
            self.log.info("%s was stopped from elsewhere", name)
            return self._run(context, stops + 1)
        if status == "REFUSED":
            raise InputError(event["message"])
        if status == "FAILED" and (failure := read_failure(self.stage, event, spec.root)):
            raise InputError(failure.message) if failure.kind == "bad-input" else RayJobFailed(failure.message)
        if status == "FAILED" and event["exit_code"] == BAD_INPUT_EXIT:
            raise InputError(f"{name}: {_format_message(event['message'])}")
        if status == "TIMEOUT":
            raise_timeout(self.stage, spec, f"{name} was stopped: not done within {self._limit(spec)}", before)
        raise RayJobFailed(
            {
                "FAILED": f"{name} failed and left no reason: {_format_message(event['message'])}",
                "STOPPED": f"{name} was stopped, like the one before it, by a person or another run",
                "LOST": f"{name} is unknown to Ray: its head was restarted; what is done is kept, the rest is redone",
                "UNREACHABLE": event["message"],
            }.get(status, f"{name} ended as {printable(str(status), 40)}, which this Assay does not know")
        )

    def _limit(self, spec: Spec) -> timedelta:
        return limits.limit_job_time(self.stage, spec, self.job_timeout)

    def on_kill(self) -> None:
        """Stop the job when the task is killed before the trigger has it; from then on the trigger does.

        Airflow calls this in a signal handler, and `execute` goes on afterwards. It must not submit the job again.
        """
        self._is_killed = True
        if self._submission_id:
            self.log.info("Stopping Ray job %s", self._submission_id)
            self._find_hook().stop(self._submission_id)

    def _find_hook(self) -> RayHook:
        self._hook = self._hook or RayHook(self.ray_conn_id)
        return self._hook

    def _attach_or_submit(self, job: StageJob, context: Context) -> Job | None:
        """Attach to the one job that may make the result, or submit it. Returns Ray's details, None if submitted.

        Skips the generations that ended without a result. Every task that needs the result tries the same ids, and a
        generation starts only after the one before is over. So no two jobs write the same content.
        """
        hook, submitter = self._find_hook(), _describe_submitter(context)
        for generation in count():
            submission_id = job.submission_id(generation)
            job_info = hook.job(submission_id)
            if job_info is None:
                self._submission_id = submission_id  # before the request: on_kill must know what may have started
                if hook.submit(job.payload(generation, submitter)):
                    self.log.info("Submitted Ray job %s", submission_id)
                    return None
                job_info = hook.job(submission_id) or {"status": "PENDING"}
            if job_info["status"] in ("FAILED", "STOPPED") or (job_info["status"] == "SUCCEEDED" and not job.is_done()):
                self.log.info("Ray job %s ended %s without a result", submission_id, job_info["status"])
                continue
            self._submission_id = submission_id
            self.log.info("Attached to Ray job %s (%s)", submission_id, job_info["status"])
            return job_info
        raise AssertionError("count() does not end")

    def _submit_next(self, context: Context) -> None:
        """Submit the job of `next_spec_uri` if its result is missing and it was never submitted.

        A failure here is only logged: this task does not need that job, and the run that needs it submits it again.
        """
        if not self.next_spec_uri:
            return
        try:
            job = StageJob.of(self.stage, load_spec(self.next_spec_uri))
            hook, submission_id = self._find_hook(), job.submission_id(0)
            if job.is_done() or hook.job(submission_id) is not None:
                return
            if hook.submit(job.payload(0, _describe_submitter(context))):
                self.log.info("Submitted Ray job %s for the run that follows", submission_id)
        except Exception as error:
            self.log.warning("Nothing was submitted for the run that follows: %s", _format_message(str(error)))


def _describe_submitter(context: Context) -> dict[str, str]:
    ti = context["ti"]
    return {"airflow_dag": ti.dag_id, "airflow_run": ti.run_id, "airflow_task": ti.task_id}


def _format_message(message: str) -> str:
    """The last 500 characters of Ray's message in one line, because the exception is at the end."""
    return printable(" ".join(message.split())[-500:], 500) or "no message"
