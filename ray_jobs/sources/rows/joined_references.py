"""Join rows that have one reference each into images with all their references.

Flickr8k, Flickr30k and COCO have this form in tables.
"""

import json
import logging
from collections.abc import Iterator
from typing import Any

from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.sources.cells.images import is_inline
from ray_jobs.sources.listing.bounds import ListingLimit
from ray_jobs.sources.listing.spill import open_database
from ray_jobs.sources.reading.fetch import resolve_path
from ray_jobs.sources.source import ImageRef

log = logging.getLogger("assay")
TABLE = (
    "joined (number INTEGER PRIMARY KEY, place TEXT UNIQUE, image_id TEXT, location TEXT, size INTEGER, label TEXT, "
    "refs TEXT, fault TEXT, truth TEXT)"
)


def join_rows(source: str, rows: Iterator[tuple[int, ImageRef]], folder: str) -> Iterator[tuple[int, ImageRef]]:
    """The images that the rows name, each once. The order and the numbers are those of their first rows.

    The rows are kept on disk, up to the limits of a listing, because there may be millions. Raises InputError for an
    image with two labels, or with different right values of fields.
    """
    limit = ListingLimit(source)
    with open_database(TABLE) as opened:
        count = images = 0
        for number, image in rows:
            count += 1
            limit.add(image)
            key = _key(folder, image.where)
            values = (
                number, key, image.image_id, image.where, image.size, image.label, json.dumps(image.references),
                image.fault, image.truth,
            )  # fmt: skip
            insert = "INSERT INTO joined VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (place) DO NOTHING"
            if opened.execute(insert, values).rowcount:
                images += 1
            else:
                _add(opened, key, image, f"dataset {source}: line {number} names {printable(image.where, 100)}")
        if count > images:
            log.info("dataset %s: %d rows name %d images, each read with all its references", source, count, images)
        query = "SELECT number, image_id, location, size, label, refs, fault, truth FROM joined ORDER BY number"
        for number, image_id, where, size, label, refs, fault, truth in opened.execute(query):
            yield number, ImageRef(image_id, where, size, label, json.loads(refs), fault, truth)


def _key(folder: str, place: str) -> str | None:
    """A key that is equal for all ways to write one place; None for a row without a place, which is never joined."""
    if not place or is_inline(place):
        return None
    return resolve_path(folder, place.replace("\\", "/"))


def _add(opened: Any, key: str | None, image: ImageRef, where: str) -> None:
    """Add the label, references and fault of another row to its image."""
    query = "SELECT label, refs, fault, truth FROM joined WHERE place = ?"
    label, refs, fault, truth = opened.execute(query, (key,)).fetchone()
    if label is not None and image.label not in (None, label):
        raise InputError(
            f"{where} with the label {image.label!r}, and with {label!r} before; give each image one row with all its "
            "labels as a list"
        )
    if image.truth != truth:
        raise InputError(f"{where} with other right values of fields than before; give each image one row")
    joined = json.loads(refs)
    joined += [text for text in image.references if text not in joined]
    values = (label if label is not None else image.label, json.dumps(joined), fault or image.fault, key)
    opened.execute("UPDATE joined SET label = ?, refs = ?, fault = ? WHERE place = ?", values)
