"""Checks that a user may read a run, before anything of the run is read."""

from typing import Any

from fastapi import Request
from sqlalchemy.orm import Session

from assay_airflow.ui.access import VALIDATION_DAG, require_dag
from assay_airflow.ui.queries.origins import Origin, find_origins
from assay_airflow.ui.queries.run_names import RunName, parse_run


def require_run(text: str, request: Request, user: Any, session: Session) -> tuple[RunName, Origin | None]:
    """Returns the run that a URL names, and the dag run that made it.

    Raises HTTPException 400 for a bad name, and 403 when the user may not read the DAG of the run.
    """
    run = parse_run(text)
    origin = find_origins(session).get(run)
    require_dag(origin.dag_id if origin else VALIDATION_DAG, request, user)
    return run, origin
