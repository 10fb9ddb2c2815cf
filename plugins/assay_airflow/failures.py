"""Which failures Airflow tries again: trouble and anything unforeseen, but never bad input."""

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from ray_jobs.contract import BadInput, Trouble


class RayUnreachable(Trouble):
    """Ray's Jobs API does not answer, or answers that it cannot."""


class RayJobFailed(Trouble):
    """A Ray job ended without its result, for a reason that another try may mend."""


RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(BadInput, RetryAction.FAIL, reason="bad input: trying again cannot help, a person has to act"),
        RetryRule(Trouble, RetryAction.DEFAULT, reason="trouble: tried again while tries are left"),
    ]
)
