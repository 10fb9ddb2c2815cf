"""Notifiers of the tasks `verdict` and `audit`. Airflow calls them in the task's process, after its state is set.

A notifier that fails writes one line into the log and changes nothing else.
"""

from typing import Any

from airflow.sdk import BaseNotifier, Context

from assay_airflow.links import build_run_url
from assay_airflow.notices.channels import list_channels
from assay_airflow.notices.message import MAX_REASON, Message, build_link, describe_verdict
from assay_airflow.notices.once import count_in_a_row, tell_once
from ray_jobs.inputs.names import printable
from ray_jobs.storage import records
from ray_jobs.storage.specs import load_spec


class _Notifier(BaseNotifier):
    def notify(self, context: Context) -> None:
        if not list_channels():
            return
        try:
            self.tell(context)
        except Exception as error:
            self.log.warning("Nobody was told: %s", printable(f"{type(error).__name__}: {error}", 300))

    def tell(self, context: Context) -> None:
        raise NotImplementedError


class VerdictNotifier(_Notifier):
    """Tells a FAIL or an INCOMPLETE, once a checkpoint, and once a day in a series that fails one after the other."""

    def tell(self, context: Context) -> None:
        ti: Any = context["ti"]
        spec = load_spec(ti.task.spec_uri)
        record = records.read(spec.run_uri)
        outcome, folder = record.verdict.outcome, record.checkpoint.folder
        if outcome not in ("FAIL", "INCOMPLETE"):
            return
        row, is_known = count_in_a_row(spec.root, record.suite, record.series_id, outcome, folder)
        if is_known:
            self.log.info("Nobody is told: %s checkpoints of this series in a row, and today it was told", row)
            return
        tell_once(spec.root, folder, describe_verdict(record, ti.dag_id, ti.run_id, row))


class AuditNotifier(_Notifier):
    """Tells an audit that is red."""

    def tell(self, context: Context) -> None:
        ti: Any = context["ti"]
        spec = load_spec(ti.task.spec_uri)
        checkpoint, suite = spec.checkpoint, spec.suite.name
        what = f"The audit of {checkpoint.name} (suite {suite}) is red: {context.get('exception')}"
        link = build_link(build_run_url(ti.dag_id, ti.run_id))
        message = Message("audit", checkpoint.name, suite, printable(what, MAX_REASON), link)
        tell_once(spec.root, checkpoint.folder, message)
