"""Trigger the router's next pass, where this one was cut."""

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException


class ContinuePassOperator(TriggerDagRunOperator):
    """Triggers its own DAG with the params of this run when the task `of` said in its summary that there is a rest.

    The next pass is told this one's occasion and where it was cut, so a person's rest asks for what failed as well.
    Without a template, because params come from outside. Skipped when there is no rest.
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
