"""`api/compare`: two runs by metric and slice, and what of them cannot be compared."""

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from assay_airflow.ui.answers import json_answer
from assay_airflow.ui.queries.checkpoint_rows import list_metrics
from assay_airflow.ui.queries.pair_table import open_pair_table
from assay_airflow.ui.queries.paired_summary import compare_metrics, explain_left_out
from assay_airflow.ui.queries.run_access import require_run
from assay_airflow.ui.queries.run_parts import load_run_parts


def get_compare(request: Request, user: GetUserDep, session: SessionDep, left: str, right: str) -> Response:
    """The paired differences of two runs. Runs over two golden sets have no image in common, so none of them."""
    left_run = load_run_parts(require_run(left, request, user, session)[0])
    right_run = load_run_parts(require_run(right, request, user, session)[0])
    answer = {"left": str(left_run.run), "right": str(right_run.run)}
    old, new = left_run.record, right_run.record
    if old.golden_id != new.golden_id:
        line = (
            f"not over one golden set ({old.golden_id} and {new.golden_id}), so no image can be compared; validate "
            "both with one suite"
        )
        return json_answer({**answer, "comparable": False, "problems": [line], "metrics": []})
    table = open_pair_table(left_run, right_run)
    about = [facts for facts in list_metrics(new) if facts["name"] in table.metrics]
    left_out = explain_left_out(left_run, right_run, [facts["name"] for facts in about])
    lines = compare_metrics(left_run, right_run, table, [facts for facts in about if facts["name"] not in left_out])
    problems = [*table.problems, *(f"{name}: {reason}" for name, reason in left_out.items())]
    if old.caption_id == new.caption_id:
        problems.append("both runs have the same captions")
    return json_answer({**answer, "comparable": bool(lines), "problems": problems, "metrics": lines})


router = APIRouter()
router.add_api_route("/compare", get_compare)
