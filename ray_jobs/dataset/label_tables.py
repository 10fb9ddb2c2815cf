"""Parse the files in which people keep the names of classes. `plan` and the readers of sources call this module.

A list without ids, in JSON or with one name per line, is numbered from 0. These forms have ids:

- ImageNet's `LOC_synset_mapping.txt` (`n01440764 tench, Tinca tinca`)
- ImageNet's `imagenet_class_index.json` (`{"0": ["n01440764", "tench"]}`)
- lines like `0: tench`, and tables with the columns id and name
- the categories of COCO, and the label2id of transformers
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable

TABLE_BYTES = 16 * 2**20  # bound on a file of synonyms or of label names

KEYED_LINES = (
    re.compile(r"(n\d{8})[\s,:]+(\S.*)"),  # ids of WordNet, which are the names of ImageNet's folders
    re.compile(r"(\d+)\s*[:=,\t]\s*(\S.*)"),
    re.compile(r"(\d+)\s+(\S.*)"),
)
KEYED = re.compile(r"(n\d{8}(?=[\s,:])|\d+(?=\s*[:=\t]))")  # an id: no name begins like this
NO_NAME = re.compile(r"#|- |names:|item\s*\{", re.IGNORECASE)  # comments, YAML, label maps of TensorFlow
NOT_READ = re.compile(r"\.(ya?ml|pbtxt|xml|toml|py|pkl|npy|parquet|xlsx?|zip)\Z")
IDS = (
    "id",
    "label",
    "label_id",
    "class",
    "class_id",
    "index",
    "idx",
    "key",
    "wnid",
    "synset",
    "category_id",
    "labelname",
)
NAMES = ("name", "label_name", "class_name", "words", "title", "description", "display_name", "category")
FORMS = "a JSON object of names by id, a list or lines of names from 0 on, or lines like `n01440764 tench`"


@dataclass(frozen=True)
class LabelTable:
    """The names by id. `is_new_form`: versions before 2026-12 read this file as plain names, numbered from 0."""

    names: dict[str, str]
    is_new_form: bool


def parse_label_table(uri: str, text: str) -> LabelTable:
    """Return the table in a file's text. The suffix of the URI decides about CSV and TSV.

    Raises InputError, with a message of one line, if the form is unknown or an id has no name or two.
    """
    if text.lstrip()[:1] in ("[", "{"):
        return LabelTable(dict(_parse_json(uri, text)), False)
    if kind := NOT_READ.search(uri.lower()):
        raise InputError(f"label_names {uri}: a {kind[0]} file, which is not read; give {FORMS}")
    lines = [line.strip() for line in text.splitlines()]
    filled_lines = [line for line in lines if line]
    if bad_line := next((line for line in filled_lines if NO_NAME.match(line)), None):
        raise InputError(f"label_names {uri}: the line {printable(bad_line, 40)!r} is no name; give {FORMS}")
    if uri.lower().endswith((".csv", ".tsv")) and (table := _parse_table(uri, text)):
        return LabelTable(table, True)
    for form in KEYED_LINES:
        pairs = [match.groups() for line in filled_lines if (match := form.fullmatch(line))]
        if filled_lines and len(pairs) == len(filled_lines) == len({key for key, _ in pairs}):
            return LabelTable({key: name.strip() for key, name in pairs}, True)
    _refuse_half_keyed(uri, filled_lines)
    return LabelTable({str(number): name for number, name in enumerate(lines)}, False)


def _refuse_half_keyed(uri: str, lines: list[str]) -> None:
    """Raise InputError if most lines begin with an id, because numbering would make the ids parts of wrong names."""
    ids = [match[1] for line in lines if (match := KEYED.match(line))]
    if 2 * len(ids) <= len(lines):
        return
    if repeated_id := next((key for key, count in Counter(ids).items() if count > 1), None):
        raise InputError(
            f"label_names {uri}: the id {printable(repeated_id, 20)!r} stands there twice; give each one name"
        )
    line_without_id = next((line for line in lines if not KEYED.match(line)), None)
    if line_without_id is None:
        nameless = next((line for line in lines if not any(form.fullmatch(line) for form in KEYED_LINES)), lines[0])
        raise InputError(f"label_names {uri}: the line {printable(nameless, 40)!r} has no name behind its id; add it")
    raise InputError(
        f"label_names {uri}: the line {printable(line_without_id, 40)!r} has no id as the others; correct it"
    )


def _parse_json(uri: str, text: str) -> Iterator[tuple[str, str]]:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"label_names {uri}: not JSON: {error}; give {FORMS}") from None
    if isinstance(content, dict) and isinstance(content.get("categories"), list):
        content = content["categories"]
    if isinstance(content, dict) and content and all(type(value) is int for value in content.values()):
        content = {str(number): name for name, number in content.items()}
    pairs = (
        content.items() if isinstance(content, dict) else ((str(number), name) for number, name in enumerate(content))
    )
    for key, name in pairs:
        if isinstance(name, dict) and {"id", "name"} <= name.keys():
            key, name = name["id"], name["name"]
        if isinstance(name, list) and len(name) == 2 and isinstance(name[0], str):
            wordnet, name = name
            yield wordnet, _read_name(uri, wordnet, name)
        yield str(key), _read_name(uri, key, name)


def _read_name(uri: str, key: Any, name: Any) -> str:
    if not isinstance(name, str):
        raise InputError(f"label_names {uri}: the name of {key!r} is not a text; write it as one")
    return name.strip()


def _parse_table(uri: str, text: str) -> dict[str, str] | None:
    """Return the names by id from a table, by its header, or from the first two columns if there is no header.

    Returns None for plain lines of names, which may contain commas too.
    """
    try:
        rows = list(csv.reader(text.splitlines(), delimiter="\t" if uri.lower().endswith(".tsv") else ",", strict=True))
    except csv.Error as error:
        raise InputError(f"label_names {uri}: {error}; correct its quotes") from None
    rows = [[cell.strip() for cell in row] for row in rows if row]
    header = [cell.lower() for cell in rows[0]] if rows else []
    if len(header) < 2:
        is_header = bool(header) and header[0] in (*IDS, *NAMES) and all(len(row) == 1 for row in rows)
        return {str(number): row[0] for number, row in enumerate(rows[1:])} if is_header else None
    ids = next((header.index(name) for name in IDS if name in header), None)
    names = next((header.index(name) for name in NAMES if name in header), None)
    if (ids is None) != (names is None):
        if len(header) > 2:
            role, known = ("ids", IDS) if ids is None else ("names", NAMES)
            columns = printable(", ".join(header), 100)
            raise InputError(
                f"label_names {uri}: cannot tell which column has the {role}: {columns}; call it {known[0]}"
            )
        ids, names = (1 - (names or 0), names) if ids is None else (ids, 1 - ids)
    if ids is None or names is None:
        if any(len(row) < 2 for row in rows):
            return None
        ids, names = 0, 1
    else:
        rows = rows[1:]
    if short := next((row for row in rows if len(row) <= max(ids, names)), None):
        raise InputError(f"label_names {uri}: the row {short[0]!r} has too few columns; write an id and a name a row")
    table = {row[ids]: row[names] for row in rows}
    if len(table) < len(rows):
        raise InputError(f"label_names {uri}: an id stands there twice; give each one name")
    return table
