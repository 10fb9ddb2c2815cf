"""Trigger the router's next pass if this one was cut."""

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException


class ContinuePassOperator(TriggerDagRunOperator):
    """Triggers its own DAG again with this run's params if the summary of the task `of` says `rest`. Else skipped.

    The next pass gets this one's occasion and last checkpoint. So if a person triggered the first pass, the next pass
    retries failed runs as well. No field is a template, because params come from outside.
    """

    template_fields = ()

    def __init__(self, *, of: str, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id="checkpoint_router", logical_date=None, **kwargs)
        self.of = of

    def execute(self, context: Context) -> None:
        summary = context["ti"].xcom_pull(task_ids=self.of, key="summary") or {}
        if not summary.get("rest"):
            raise AirflowSkipException("the pass was not cut: there is no rest")
        self.conf = {name: context["params"][name] for name in ("checkpoints", "suite")}
        self.conf |= {name: summary.get(name) for name in ("occasion", "after")}
        super().execute(context)
