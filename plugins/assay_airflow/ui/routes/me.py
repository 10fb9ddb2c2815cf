"""`api/me`: the user's name, and what the user may do beside reading."""

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from assay_airflow.ui.access import may_change_dag
from assay_airflow.ui.answers import json_answer


def get_me(request: Request, user: GetUserDep) -> Response:
    """Deciding and labelling need the right to answer the validation DAG's questions to people."""
    may_answer = may_change_dag(DagAccessEntity.HITL_DETAIL, request, user)
    return json_answer({"name": user.get_name(), "may": {"decide": may_answer, "label": may_answer}})


router = APIRouter()
router.add_api_route("/me", get_me)
