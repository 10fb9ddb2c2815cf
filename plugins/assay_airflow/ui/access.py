"""Says which runs a user may see: those of the DAGs whose runs Airflow's own API would show to that user.

A run that no DAG made, because a person ran the programs by hand, counts as a run of the validation DAG.
"""

from collections.abc import Iterable
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import HTTPException, Request

VALIDATION_DAG = "validate_checkpoint"


def require_dag(dag_id: str, request: Request, user: Any) -> None:
    """Raises HTTPException 403 when the user may not read the runs of the DAG."""
    requires_access_dag("GET", DagAccessEntity.RUN, dag_id)(request, user)


def may_read_dag(dag_id: str, request: Request, user: Any) -> bool:
    try:
        require_dag(dag_id, request, user)
    except HTTPException:
        return False
    return True


def list_readable_dags(dag_ids: Iterable[str], request: Request, user: Any) -> set[str]:
    """Returns the DAGs whose runs the user may read. Raises HTTPException 403 when that is none of them.

    The validation DAG is always asked about.
    """
    readable = {dag_id for dag_id in {*dag_ids, VALIDATION_DAG} if may_read_dag(dag_id, request, user)}
    if not readable:
        require_dag(VALIDATION_DAG, request, user)
    return readable


def may_change_dag(entity: DagAccessEntity, request: Request, user: Any) -> bool:
    """Whether the user may change this entity of the validation DAG."""
    try:
        requires_access_dag("PUT", entity, VALIDATION_DAG)(request, user)
    except HTTPException:
        return False
    return True
