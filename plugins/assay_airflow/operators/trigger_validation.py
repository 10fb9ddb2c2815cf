"""Trigger the validation of one checkpoint, whose name and run id come from outside."""

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator


class TriggerValidationOperator(TriggerDagRunOperator):
    """`TriggerDagRunOperator` without a template: `conf` and `trigger_run_id` hold the names of folders."""

    template_fields = ()
