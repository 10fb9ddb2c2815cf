"""Read the rows of a JSON file that describes images: COCO, Karpathy's splits, LLaVA, a list of objects, a caption map.

Each form becomes rows like those of a manifest, one row per image. So all later code reads every form in the same way.
Data that must wait for the end of the file is kept on disk.
"""

import io
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from ray_jobs.dataset import image_formats
from ray_jobs.dataset.source_files import SPLIT_OF
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.sources.cells.columns import PLACES
from ray_jobs.sources.listing.bounds import ListingLimit
from ray_jobs.sources.listing.skipped_files import log
from ray_jobs.sources.listing.spill import open_database
from ray_jobs.sources.rows.json_stream import Entry, JsonStream
from ray_jobs.sources.rows.splits import COLUMN as SPLIT

Cells = dict[str, Any]
WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
FORMS = "a list of objects, COCO (`images` and `annotations`), Karpathy's splits, or texts by image name"
BESIDE = ("licenses", "licences")  # lists in COCO's files whose addresses do not name images
OBJECTS = "objects"  # the column with the labels and boxes of COCO's annotations
ROW = 50  # bytes of a row on disk without its texts
LISTS = ("images", "annotations", "categories")
TABLES = (
    "image (number INTEGER PRIMARY KEY, id TEXT UNIQUE, cells TEXT)",
    "annotation (number INTEGER PRIMARY KEY, image TEXT, caption TEXT, category TEXT, box TEXT)",
    "category (id TEXT PRIMARY KEY, name TEXT)",
)


def read_json_rows(uri: str, file: io.BufferedIOBase, head: bool = False) -> Iterator[tuple[int, Cells]]:
    """(number, cells) of each image. `head` leaves out the annotations, so that the first images come at once.

    Raises InputError for a form that is not read. The message lists the forms that are read.
    """
    entries = JsonStream(uri, file).entries()
    passed: dict[str, None] = {}
    for entry in entries:
        if not entry.key and entry.is_listed:
            yield from _objects(uri, chain([entry], entries))
            return
        if entry.key in LISTS and entry.is_listed:
            rest = chain([entry], entries)
            yield from _read_head(uri, rest) if head else _join_annotations(uri, rest)
            return
        if entry.key.lower().endswith(image_formats.SUFFIXES):
            yield from _by_name(uri, chain([entry], entries))
            return
        if entry.is_listed and entry.key not in BESIDE and _names_image(entry.value):
            yield from _by_list(uri, chain([entry], entries))
            return
        passed[entry.key] = None
    known = printable(", ".join(list(passed)[:5]) or "nothing")
    raise InputError(f"dataset {uri}: JSON of no form that is read here (it holds {known}); write {FORMS}")


def _names_image(value: Any) -> bool:
    return isinstance(value, dict) and any(name in value for name in PLACES)


def _objects(uri: str, entries: Iterator[Entry]) -> Iterator[tuple[int, Cells]]:
    """The rows of a list of objects, or of a list of names of images."""
    for number, entry in enumerate(entries, 1):
        if isinstance(entry.value, dict):
            yield number, entry.value
        elif isinstance(entry.value, str):
            yield number, {"file_name": entry.value}
        else:
            raise InputError(f"dataset {uri}: entry {number} is not an object; write one an image")


def _by_list(uri: str, entries: Iterator[Entry]) -> Iterator[tuple[int, Cells]]:
    """The objects of the list that names images, or of one list per split, `{"train": [...], "val": [...]}`.

    Raises InputError when two lists name images and their keys are not splits, because any choice would be a guess.
    """
    first, number = "", 0
    for entry in entries:
        if not entry.is_listed or entry.key in BESIDE or not (entry.key == first or _names_image(entry.value)):
            continue
        first = first or entry.key
        is_split = entry.key.lower() in SPLIT_OF
        if entry.key != first and not (is_split and first.lower() in SPLIT_OF):
            both = f"{printable(first, 40)!r} and {printable(entry.key, 40)!r}"
            raise InputError(f"dataset {uri}: its lists {both} both name images; write them as one list")
        number += 1
        if not isinstance(entry.value, dict):
            raise InputError(f"dataset {uri}: entry {number} is not an object; write one an image")
        yield number, ({SPLIT: entry.key} if is_split else {}) | entry.value


def _by_name(uri: str, entries: Iterator[Entry]) -> Iterator[tuple[int, Cells]]:
    """The rows of `{"a.jpg": ["a caption", "another"]}`. The entries of a list of texts come one by one."""
    name, texts, number = "", list[Any](), 0
    for entry in entries:
        if entry.key != name:
            if number:
                yield number, {"file_name": name, "caption": texts}
            name, texts, number = entry.key, [], number + 1
        texts.append(entry.value)
    if number:
        yield number, {"file_name": name, "caption": texts}


def _read_head(uri: str, entries: Iterator[Entry]) -> Iterator[tuple[int, Cells]]:
    number = 0
    for entry in entries:
        if entry.key == "images" and entry.is_listed:
            number += 1
            yield number, _image(uri, number, entry.value)


def _join_annotations(uri: str, entries: Iterator[Entry]) -> Iterator[tuple[int, Cells]]:
    """Each image with the captions and categories of its annotations, whatever the order of the three lists."""
    limit = ListingLimit(uri)
    with open_database(*TABLES) as opened:
        counts = dict.fromkeys(LISTS, 0)
        for entry in entries:
            if not entry.is_listed or entry.key not in LISTS:
                continue
            counts[entry.key] += 1
            number, value = counts[entry.key], entry.value
            if not isinstance(value, dict):
                raise InputError(f"dataset {uri}: {entry.key} {number} is not an object")
            if entry.key == "images":
                cells = _image(uri, number, value)
                row = (number, _id(value.get("id", value.get("imgid"))), json.dumps(cells))
                limit.add_text(ROW + len(row[2]))
                if opened.execute("INSERT OR IGNORE INTO image VALUES (?, ?, ?)", row).rowcount == 0:
                    raise InputError(f"dataset {uri}: two images have the id {row[1]}; give each its own")
            elif entry.key == "annotations":
                caption = json.dumps(value["caption"]) if value.get("caption") is not None else None
                category = _id(value.get("category_id"))
                row_of = (number, _id(value.get("image_id")), caption, category, _box(value))
                limit.add_text(ROW + len(caption or ""))
                opened.execute("INSERT INTO annotation VALUES (?, ?, ?, ?, ?)", row_of)
            else:
                name = (_id(value.get("id")), json.dumps(value.get("name")))
                limit.add_text(ROW + len(name[1]))
                opened.execute("INSERT OR REPLACE INTO category VALUES (?, ?)", name)
        if not counts["images"]:
            raise InputError(f"dataset {uri}: it has no `images`, so nothing names a file; give the file that has them")
        opened.execute("CREATE INDEX by_image ON annotation (image, number)")
        _warn_of_orphans(uri, opened)
        _refuse_unnamed(uri, opened)
        yield from _with_annotations(opened)


def _with_annotations(opened: Any) -> Iterator[tuple[int, Cells]]:
    has = opened.execute("SELECT COUNT(caption), COUNT(category), COUNT(box) FROM annotation").fetchone()
    of_image = (
        "SELECT a.caption, COALESCE(c.name, a.category), a.box FROM annotation a "
        "LEFT JOIN category c ON c.id = a.category WHERE a.image = ? ORDER BY a.number"
    )
    for number, identity, cells in opened.execute("SELECT number, id, cells FROM image ORDER BY number"):
        rows = opened.execute(of_image, (identity,)).fetchall() if any(has) and identity is not None else []
        more: Cells = {}
        if has[0]:
            more["caption"] = [json.loads(caption) for caption, _, _ in rows if caption is not None]
        if has[1]:
            named = dict.fromkeys(category for _, category, _ in rows if category is not None)
            more["category"] = [json.loads(category) for category in named]
        image = json.loads(cells)
        if has[1] and has[2] and OBJECTS not in image:
            placed = [(category, box) for _, category, box in rows if category is not None and box is not None]
            more[OBJECTS] = _build_objects(image, placed)
        yield number, image | more


def _box(annotation: dict[str, Any]) -> str | None:
    """The box of one object as JSON: x, y, width and height in pixels; None without a box, and for a crowd."""
    box = annotation.get("bbox")
    is_box = isinstance(box, list) and len(box) == 4 and all(type(edge) in (int, float) for edge in box)
    return json.dumps(box) if is_box and not annotation.get("iscrowd") else None


def _build_objects(image: Cells, placed: list[tuple[str, str]]) -> list[Cells] | None:
    """The label of each object and its box in thousandths of the image. Boxes in `caption.fields` have the same unit.

    None when the file does not have the size of the image.
    """
    width, height = image.get("width"), image.get("height")
    if not (isinstance(width, int | float) and isinstance(height, int | float) and width > 0 and height > 0):
        return None
    objects = []
    for category, box in placed:
        x, y, across, down = json.loads(box)
        edges = (x / width, y / height, (x + across) / width, (y + down) / height)
        inside = [round(min(max(1000 * edge, 0), 1000), 2) for edge in edges]
        objects.append({"label": json.loads(category), "box": inside})
    return objects


def _warn_of_orphans(uri: str, opened: Any) -> None:
    query = "SELECT COUNT(*), MIN(image) FROM annotation WHERE image IS NULL OR image NOT IN (SELECT id FROM image)"
    count, example = opened.execute(query).fetchone()
    if count:
        log.warning("dataset %s: %d annotations are of images that it does not list (%s)", uri, count, example)


def _refuse_unnamed(uri: str, opened: Any) -> None:
    """Raise InputError when some categories have a name and one has none.

    The number of the category would otherwise stand among the names of the others.
    """
    query = (
        "SELECT MIN(category) FROM annotation WHERE EXISTS (SELECT * FROM category) "
        "AND category IS NOT NULL AND category NOT IN (SELECT id FROM category WHERE name != 'null')"
    )
    (unnamed,) = opened.execute(query).fetchone()
    if unnamed is not None:
        raise InputError(f"dataset {uri}: `categories` has no name for {printable(unnamed, 40)}; add it")


def _image(uri: str, number: int, value: Any) -> Cells:
    """The cells of an entry of `images`. In Karpathy's files the folder of an image is joined with its name."""
    if not isinstance(value, dict):
        raise InputError(f"dataset {uri}: images {number} is not an object")
    folder, name = value.get("filepath"), value.get("filename")
    if isinstance(name, str) and "sentences" in value:
        place = f"{folder}/{name}" if isinstance(folder, str) and folder else name
        return {"file_name": place} | {key: cell for key, cell in value.items() if key not in ("filepath", "filename")}
    return value


def _id(value: Any) -> str | None:
    """An id as a text. pandas and spreadsheets turn 139 into 139.0 or "139", and all three give the same text."""
    is_number_as_text = isinstance(value, str) and WHOLE.fullmatch(value)
    if is_number_as_text or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return None if value is None else json.dumps(value)
