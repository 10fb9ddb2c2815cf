"""`api/pairs`, `api/histogram` and `api/pairs.csv`: the images of two runs, or of one run."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from assay_airflow.ui.answers import json_answer, refuse
from assay_airflow.ui.queries.checkpoint_rows import list_metrics
from assay_airflow.ui.queries.golden_rows import read_images
from assay_airflow.ui.queries.pair_filters import MOST_QUERY, STATUSES, Choice, parse_bounds
from assay_airflow.ui.queries.pair_rows import read_histogram, read_page, stream_rows
from assay_airflow.ui.queries.pair_table import PairTable, open_pair_table
from assay_airflow.ui.queries.rejected_rows import read_rejected
from assay_airflow.ui.queries.run_access import require_run
from assay_airflow.ui.queries.run_names import run_of_uri
from assay_airflow.ui.queries.run_parts import RunParts, load_run_parts
from assay_airflow.ui.routes.run import resolve_run
from ray_jobs.inputs.names import printable

MOST_ROWS = 200
MOST_BINS = 200
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class PairQuery:
    """The two runs of a request, their table, and which images it asks for."""

    left: RunParts | None
    right: RunParts
    table: PairTable
    choice: Choice
    about: list[dict[str, Any]]

    @property
    def higher_is_better(self) -> bool | None:
        return next((facts["higher_is_better"] for facts in self.about if facts["name"] == self.choice.sort), None)


def read_query(
    request: Request,
    user: GetUserDep,
    session: SessionDep,
    left: str = "",
    right: str = "",
    dag: str = "",
    dag_run: str = "",
    sort: str = "",
    by: str = "difference",
    order: str = "worst",
    q: Annotated[str, Query(max_length=MOST_QUERY)] = "",
    status: str = "",
    label: str | None = None,
    metric: str = "",
    metric_min: Annotated[list[str] | None, Query()] = None,
    metric_max: Annotated[list[str] | None, Query()] = None,
) -> PairQuery:
    """Returns what a request asks for, after a check that the user may read both runs."""
    name, _ = resolve_run(request, user, session, right, dag, dag_run)
    right_run = load_run_parts(name)
    baseline = right_run.record.verdict.baseline
    if not right and not left and baseline:
        left = str(run_of_uri(baseline.run_uri) or "")
    left_run = load_run_parts(require_run(left, request, user, session)[0]) if left else None
    table = open_pair_table(left_run, right_run)
    about = [facts for facts in list_metrics(right_run.record) if facts["name"] in table.metrics]
    sort = metric or sort or (about[0]["name"] if about else "key")
    if sort != "key" and sort not in table.metrics:
        raise refuse(400, f"metric {printable(sort, 100)!r}: the run has none of that name")
    if by not in ("difference", "left", "right") or order not in ("worst", "asc", "desc"):
        raise refuse(400, "by is difference, left or right, and order is worst, asc or desc")
    if status and status not in STATUSES:
        raise refuse(400, f"status {printable(status, 100)!r}: it is one of {', '.join(STATUSES)}")
    by = by if left_run else "right"
    bounds = [*parse_bounds(metric_min or [], table, ">="), *parse_bounds(metric_max or [], table, "<=")]
    return PairQuery(
        left_run, right_run, table, Choice(sort, by, order, q, status, label or None, tuple(bounds)), about
    )


PairQueryDep = Annotated[PairQuery, Depends(read_query)]


def get_pairs(
    query: PairQueryDep,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
) -> Response:
    """One page of images, with captions, references, metrics and the judge's rationales."""
    golden_id = query.right.record.golden_id
    problems = list(query.table.problems)
    if query.choice.status == "rejected":
        total, answers, faults = read_rejected(golden_id, query.choice.text, offset, limit)
    else:
        total, rows = read_page(query.table, query.choice, query.higher_is_better, offset, limit)
        images, faults = read_images(golden_id, [(row["part"], row["image_id"]) for row in rows])
        answers = [_describe_row(row, images.get(row["image_id"]), query) for row in rows]
    return json_answer(
        {
            "left": str(query.left.run) if query.left else None,
            "right": str(query.right.run),
            "total": total,
            "metrics": [facts["name"] for facts in query.about],
            "about": query.about,
            "sort": query.choice.sort,
            "by": query.choice.by,
            "order": query.choice.order,
            "rows": answers,
            "problems": problems + faults,
        }
    )


def _describe_row(row: dict[str, Any], image: dict[str, Any] | None, query: PairQuery) -> dict[str, Any]:
    golden_id = query.right.record.golden_id
    place = {"run": str(query.right.run), "golden": golden_id, "part": row["part"], "row": image["row"] if image else 0}
    return {
        "key": row["image_id"],
        "image": f"api/image?{urlencode(place)}" if image else None,
        "width": image["width"] if image else None,
        "height": image["height"] if image else None,
        "label": row["label"],
        "references": image["references"] if image else [],
        "left": _describe_side(row, "left") if query.left else None,
        "right": _describe_side(row, "right"),
        "metrics": {facts["name"]: _describe_metric(row["values"], query, facts["name"]) for facts in query.about},
        "judge": {"left": row["left_rationale"], "right": row["right_rationale"]},
    }


def _describe_side(row: dict[str, Any], side: str) -> dict[str, Any]:
    return {name: row[f"{side}_{name}"] for name in ("caption", "status", "failure", "cut")}


def _describe_metric(values: dict[str, Any], query: PairQuery, name: str) -> dict[str, Any]:
    place = query.table.metrics.index(name)
    left, right = values.get(f"l{place}"), values.get(f"r{place}")
    difference = right - left if left is not None and right is not None else None
    return {"left": left, "right": right, "difference": difference}


def get_histogram(query: PairQueryDep, bins: Annotated[int, Query(ge=1, le=MOST_BINS)] = 40) -> Response:
    """The distribution of the sorted value over the images that the filters leave."""
    if query.choice.sort == "key":
        raise refuse(400, "a histogram needs a metric; name it with metric=")
    return json_answer(read_histogram(query.table, query.choice, bins))


def get_csv(query: PairQueryDep) -> Response:
    """All images that the filters leave, as a CSV file. A cell that a spreadsheet would compute gets a quote."""
    name = f"{query.right.run.folder}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_write_csv(query), media_type="text/csv; charset=utf-8", headers=headers)


def _write_csv(query: PairQuery) -> Iterator[str]:
    sides = ("left", "right") if query.left else ("right",)
    texts = ["image_id", "label", *(f"{side}_{name}" for side in sides for name in ("caption", "status", "failure"))]
    letters = {"left": "l", "right": "r"}
    columns = [
        (f"{side}_{facts['name']}", f"{letters[side]}{query.table.metrics.index(facts['name'])}")
        for facts in query.about
        for side in sides
    ]
    yield _format_line([*texts, *(title for title, _ in columns)])
    for rows in stream_rows(query.table, query.choice, query.higher_is_better):
        yield "".join(
            _format_line([*(row[name] for name in texts), *(row["values"][column] for _, column in columns)])
            for row in rows
        )


def _format_line(cells: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(
        [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in cells]
    )
    return buffer.getvalue()


router = APIRouter()
router.add_api_route("/pairs", get_pairs)
router.add_api_route("/histogram", get_histogram)
router.add_api_route("/pairs.csv", get_csv)
