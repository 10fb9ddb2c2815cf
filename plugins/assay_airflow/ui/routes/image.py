"""`api/image`: one image of a golden set, as it is stored."""

from typing import Annotated

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Query, Request, Response

from assay_airflow.ui.answers import refuse
from assay_airflow.ui.queries.golden_rows import read_image
from assay_airflow.ui.queries.run_access import require_run
from assay_airflow.ui.queries.run_names import parse_part
from assay_airflow.ui.queries.run_parts import load_run_parts

CACHE = "private, max-age=86400, immutable"


def get_image(
    request: Request,
    user: GetUserDep,
    session: SessionDep,
    run: str,
    golden: str,
    part: str,
    row: Annotated[int, Query(ge=0, le=10**6)],
) -> Response:
    """The image of a run's golden set. Only a user who may read the run gets it. Both sizes are the stored bytes."""
    golden_id, name = parse_part(golden, part)
    run_name, _ = require_run(run, request, user, session)
    if load_run_parts(run_name).record.golden_id != golden_id:
        raise refuse(404, f"run {run_name}: it is not over the golden set {golden_id}")
    data, media_type = read_image(golden_id, name, row)
    return Response(data, media_type=media_type, headers={"Cache-Control": CACHE})


router = APIRouter()
router.add_api_route("/image", get_image)
