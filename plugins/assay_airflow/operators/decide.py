"""Ask a person about a published run, and keep the answer in storage.

`AskOperator` is a task of a validation: it triggers the DAG `decide_run` where the suite asks a person about such a
verdict. `DecideOperator` is the one task of that DAG: it waits for the answer without a worker.
"""

import re
from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context, Param
from airflow.sdk.exceptions import AirflowSkipException

from assay_airflow import tasks
from assay_airflow.operators.untemplated import UntemplatedOperator
from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.decision import MAX_REASON, describe_decision
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import decisions, records, specs, uris

ACCEPT, REJECT = "Accept", "Reject"
QUESTIONS = {"PASS": "Promote", "FAIL": "Overrule the FAIL of", "INCONCLUSIVE": "Approve"}
RUN = re.compile(r"/runs/[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_]+", re.ASCII)
MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+.!|~&:-])")


# Of the answer's form. Airflow checks it before there is an answer too, so it may be empty here.
REASON = Param(
    "",
    type="string",
    maxLength=MAX_REASON,
    title="Reason",
    description="Why, for those who read it in a year. It is kept with your name.",
)


class AskOperator(UntemplatedOperator, TriggerDagRunOperator):
    """Triggers `decide_run` for the spec's run if the suite's `gate.ask` has its outcome. Else skipped.

    The run of `decide_run` is named by run and outcome, so clearing this task asks nobody twice.
    """

    template_fields: Sequence[str] = ("spec_uri",)

    def __init__(self, *, spec_uri: Any, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id="decide_run", logical_date=None, skip_when_already_exists=True, **kwargs)
        self.spec_uri = spec_uri

    def execute(self, context: Context) -> None:
        spec = specs.load_spec(self.spec_uri)
        record = records.read(spec.run_uri)
        if record.verdict.outcome not in spec.suite.gate.ask:
            raise AirflowSkipException(f"{record.verdict.outcome}: the suite asks nobody about it")
        self.conf = {"run": spec.run_uri}
        self.trigger_run_id = f"{record.checkpoint.folder}__{record.run_id}__{record.verdict.outcome}"
        super().execute(context)


class DecideOperator(HITLOperator):
    """Asks whether the run of the param `run` is accepted, with a reason, and stores who answered what.

    If nobody answers in time, the task is skipped and the verdict stands. An answer is about the outcome that the
    question named, so it is refused if the run has another one by now.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(subject="Is this run accepted?", options=[ACCEPT, REJECT], **kwargs)
        self.params["reason"] = REASON

    def execute(self, context: Context) -> None:
        record = records.load(_find_run(context))
        self.subject, self.body = build_question(record)
        context["ti"].xcom_push(key="outcome", value=record.verdict.outcome)
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """The decision on one line. Raises InputError for an answer without a reason."""
        answer = super().execute_complete(context, event)
        run_uri = _find_run(context)
        record = records.load(run_uri)
        outcome_asked = context["ti"].xcom_pull(task_ids=self.task_id, key="outcome")
        if outcome_asked != record.verdict.outcome:
            raise InputError(
                f"run {run_uri}: the question was about {outcome_asked}, and it is {record.verdict.outcome} now; "
                "clear the task to be asked again"
            )
        decision = decisions.decide(
            decisions.root_of(run_uri),
            record,
            answer["chosen_options"] == [ACCEPT],
            str(answer["params_input"].get("reason", "")),
            answer["responded_by_user"]["name"],
        )
        line = printable(describe_decision(decision), 2500)
        self.log.info("%s", line)
        return line

    def process_trigger_event_error(self, event: dict[str, Any]) -> None:
        if event["error_type"] == "timeout":
            raise AirflowSkipException("nobody answered in time: the verdict stands")
        super().process_trigger_event_error(event)


def _find_run(context: Context) -> str:
    """The URI of the run that the param names. Raises InputError outside ASSAY_ROOT, where nothing may be written."""
    root = uris.make_absolute(tasks.storage_root())
    run_uri = records.run_uri_of(context["params"]["run"])
    if not (run_uri.startswith(f"{root}/runs/") and RUN.fullmatch(run_uri[len(root) :])):
        raise InputError(f"run {printable(run_uri, 300)}: no folder {root}/runs/CHECKPOINT/RUN; name a published run")
    return run_uri


def build_question(record: Record) -> tuple[str, str]:
    """The subject and the body, in Markdown, of the question about a run. Text from outside is escaped."""
    verdict, name = record.verdict, printable(record.checkpoint.name)
    lines = [
        f"**{verdict.outcome}** in suite {escape(printable(record.suite))}: {escape(printable(verdict.reason, 2000))}",
        f"Compared with {escape(printable(verdict.baseline.checkpoint.name))}." if verdict.baseline else "No baseline.",
        f"Report: {escape(f'{records.results_uri(record.run_uri, verdict)}/report.html')}",
        f"*{ACCEPT}*: it is the baseline of the next runs. *{REJECT}*: it is none. The verdict stays as measured.",
    ]
    return f"{QUESTIONS.get(verdict.outcome, 'Accept')} {name}?", "\n\n".join(lines)


def escape(text: str) -> str:
    """The text, so that Markdown shows it as it is."""
    return MARKDOWN.sub(r"\\\1", text)
