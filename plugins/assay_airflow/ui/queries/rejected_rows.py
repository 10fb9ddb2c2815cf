"""Reads the images that the golden set rejected: they have a reason, and no caption."""

from typing import Any

from assay_airflow.ui.queries.chunk_sql import MOST_TEXT
from assay_airflow.ui.queries.database import fetch
from assay_airflow.ui.queries.part_files import PartFile, locate_parts
from assay_airflow.ui.queries.run_names import read_root
from assay_airflow.ui.queries.run_parts import load_golden


def read_rejected(golden_id: str, text: str, offset: int, limit: int) -> tuple[int, list[dict[str, Any]], list[str]]:
    """Returns the number of rejected images, one page of them, and a line if they cannot be read."""
    manifest = load_golden(golden_id)
    if not sum(manifest.lost.values()):
        return 0, [], []
    uri = f"{read_root()}/golden/{golden_id}/rejects.parquet"
    paths, problems = locate_parts([PartFile("rejects", 0, uri, str(manifest.created_at))])
    if problems:
        return 0, [], problems
    source = "FROM read_parquet($path) WHERE $text = '' OR contains(lower(image_id), $text) OR contains(reason, $text)"
    values = {"path": paths["rejects"], "text": text.lower()}
    total = fetch(f"SELECT count(*) {source}", values)[0][0]
    rows = fetch(
        f"SELECT left(image_id, {MOST_TEXT}), left(reason, 200), left(detail, 2000) {source} "
        f"ORDER BY image_id LIMIT {int(limit)} OFFSET {int(offset)}",
        values,
    )
    nobody = {"caption": None, "status": "rejected", "cut": False}
    return (
        total,
        [
            {
                "key": image_id,
                "image": None,
                "width": None,
                "height": None,
                "label": None,
                "references": [],
                "left": None,
                "right": nobody | {"failure": f"{reason}: {detail}" if detail else reason},
                "metrics": {},
                "judge": None,
            }
            for image_id, reason, detail in rows
        ],
        [],
    )
