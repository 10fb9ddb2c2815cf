"""Reads from the golden set what a page shows of its images: size, references, and the bytes of one image."""

from collections.abc import Iterable
from typing import Any

import duckdb

from assay_airflow.ui.answers import refuse
from assay_airflow.ui.queries.chunk_sql import MOST_TEXT
from assay_airflow.ui.queries.database import fetch
from assay_airflow.ui.queries.part_files import locate_parts
from assay_airflow.ui.queries.run_parts import list_golden_parts

MOST_REFERENCES = 50
LARGEST_IMAGE = 64 * 2**20
MAGIC = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))

Facts = dict[str, Any]


def read_images(golden_id: str, wanted: Iterable[tuple[str, str]]) -> tuple[dict[str, Facts], list[str]]:
    """Returns the place, size and references of each image by its id, and one line for each part without them.

    `wanted` has the part and the id of each image.
    """
    by_part: dict[str, list[str]] = {}
    for part, image_id in wanted:
        by_part.setdefault(part, []).append(image_id)
    paths, problems = locate_parts(list_golden_parts(golden_id, set(by_part)))
    problems += [f"{part}: the golden set has no such part" for part in by_part.keys() - paths.keys() if not problems]
    images: dict[str, Facts] = {}
    try:
        images = _read_facts(paths, by_part)
    except Exception:  # one of the parts is damaged: ask each alone
        for part, path in paths.items():
            try:
                images |= _read_facts({part: path}, by_part)
            except Exception as error:
                reason = str(getattr(error, "detail", error)).replace(path, f"{part}.parquet").splitlines()[0][:200]
                problems.append(f"golden set, {part}: not readable ({reason})")
    return images, problems


def _read_facts(paths: dict[str, str], by_part: dict[str, list[str]]) -> dict[str, Facts]:
    if not paths:
        return {}
    names = {path: part for part, path in paths.items()}
    rows = fetch(
        "SELECT image_id, filename, file_row_number, width, height, label, "
        f'list_transform("references"[:{MOST_REFERENCES}], lambda r: left(r, {MOST_TEXT})) '
        "FROM read_parquet($paths, filename = true, file_row_number = true) "
        "WHERE image_id IN (SELECT unnest($ids))",
        {"paths": list(names), "ids": [image_id for part in paths for image_id in by_part[part]]},
    )
    return {
        image_id: {
            "part": names[path],
            "row": row,
            "width": width,
            "height": height,
            "label": label,
            "references": references or [],
        }
        for image_id, path, row, width, height, label, references in rows
    }


def read_image(golden_id: str, part: str, row: int) -> tuple[bytes, str]:
    """Returns the bytes of an image as they are stored, and their type by their first bytes.

    Raises HTTPException 404 without such an image, and 415 for bytes that are no JPEG, PNG or WebP.
    """
    paths, problems = locate_parts(list_golden_parts(golden_id, {part}))
    if not paths:
        raise refuse(404, f"golden set {golden_id}, {problems[0] if problems else f'{part}: no such part'}")
    try:
        rows = fetch(
            "SELECT CASE WHEN octet_length(image) <= $most THEN image END FROM read_parquet($path, "
            "file_row_number = true) WHERE file_row_number = $row",
            {"path": paths[part], "row": row, "most": LARGEST_IMAGE},
        )
    except duckdb.Error:
        raise refuse(
            422, f"golden set {golden_id}, {part}: not readable as Parquet; make the golden set again"
        ) from None
    if not rows or rows[0][0] is None:
        raise refuse(404, f"golden set {golden_id}, {part}: it has no image {row}")
    data = bytes(rows[0][0])
    return data, find_type(data)


def find_type(data: bytes) -> str:
    """Returns the media type of an image by its first bytes. Raises HTTPException 415 for any other content."""
    for magic, media_type in MAGIC:
        if data.startswith(magic):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise refuse(415, "the stored bytes are no JPEG, PNG or WebP image; open them elsewhere")
