"""The URI of the spec that a run's task `plan` wrote, for the arguments of the tasks behind it."""

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Context
from airflow.sdk.definitions._internal.mixins import ResolveMixin


class PlannedSpec(ResolveMixin):
    """Resolves to the result of `plan`, and draws no edge from `plan` to the task that has it.

    Every stage reads the spec. With an XCom argument, Airflow would draw an edge from `plan` to each of them, and the
    graph would show all of these beside the stages' real order. The task must come after `plan` by other edges.
    """

    def iter_references(self) -> Iterable[tuple[Any, str]]:
        return ()

    def resolve(self, context: Context) -> Any:
        """The spec's URI. Raises LookupError if `plan` left none."""
        if uri := context["ti"].xcom_pull(task_ids="plan"):
            return uri
        raise LookupError("task plan left no spec; clear it")

    def __str__(self) -> str:
        return "the spec of plan"
