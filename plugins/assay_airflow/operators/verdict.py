"""Publish a run's record, and show its verdict as the state of a task."""

import sys
from collections.abc import MutableMapping, Sequence
from typing import Any

from airflow.sdk import Asset, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from structlog import get_config as read_config

from assay_airflow import run_note, tasks
from assay_airflow.links import ExplorerLink, ReportLink
from assay_airflow.operators.untemplated import UntemplatedOperator
from assay_airflow.verdict_lines import format_verdict


class VerdictNotPassed(AirflowFailException):
    """A FAIL or an INCOMPLETE: the message is the outcome with its reason. Nothing of the pipeline is broken."""


class RecordOperator(UntemplatedOperator):
    """A task that has the record of a run, and so the buttons to its report and to its images."""

    template_fields: Sequence[str] = ("spec_uri",)
    operator_extra_links = (ReportLink(), ExplorerLink())

    def __init__(self, *, spec_uri: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec_uri = spec_uri
        self.run_uri: str | None = None


class PublishOperator(RecordOperator):
    """Publish the run's record, and write its verdict into the note of the run.

    Returns the record's summary, which is also the extra of the asset's event.
    """

    ui_color = "#d5ecd9"

    def __init__(self, *, verdicts: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[verdicts], **kwargs)
        self.verdicts = verdicts

    def execute(self, context: Context) -> dict[str, Any]:
        summary = tasks.publish(self.spec_uri)
        self.run_uri = summary["record"].removesuffix("/record.json")
        context["outlet_events"][self.verdicts].extra = summary
        ti = context["ti"]
        note = run_note.format_note(tasks.read_record(self.spec_uri), ti.dag_id, ti.run_id)
        run_note.write_note(note, ti.dag_id, ti.run_id)
        return summary


class VerdictOperator(RecordOperator):
    """PASS succeeds, FAIL and INCOMPLETE fail and are not tried again, INCONCLUSIVE is skipped.

    The log has five lines and no traceback. The last line is the reason. docs/adr/0007-states-of-a-verdict.md says why
    the task fails while the run succeeds.
    """

    ui_color = "#8fd6cf"

    def execute(self, context: Context) -> str:
        record = tasks.read_record(self.spec_uri)
        self.run_uri = record.run_uri
        *lines, outcome = format_verdict(record)
        for line in lines:
            self.log.info("%s", line)
        if record.verdict.outcome == "INCONCLUSIVE":
            self.log.info("%s", outcome)
            raise AirflowSkipException(outcome)
        if record.verdict.outcome != "PASS":
            _hide_tracebacks_of_verdicts()
            raise VerdictNotPassed(outcome)
        self.log.info("%s", outcome)
        return outcome


def _hide_tracebacks_of_verdicts() -> None:
    """Airflow logs each exception of a task with its traceback. Of a verdict, only the message remains in the log.

    The loggers of a task share one list of processors, so this holds for those that exist, too. The process of the task
    ends with it.
    """
    processors = read_config()["processors"]
    if isinstance(processors, list) and _drop_traceback not in processors:
        processors.insert(0, _drop_traceback)


def _drop_traceback(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = sys.exc_info()[1]
    if event.get("exc_info") and isinstance(error, VerdictNotPassed):
        del event["exc_info"]
        event["event"] = str(error)
    return event
