"""Trigger the validation of one checkpoint. Its name and run id come from outside."""

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator


class TriggerValidationOperator(TriggerDagRunOperator):
    """`TriggerDagRunOperator` without template fields, because `conf` and `trigger_run_id` hold folder names."""

    template_fields = ()
