"""The rows of a JSONL, CSV or TSV file, line by line, each with the number of the line it begins at."""

import csv
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from ray_jobs.contract import BadInput
from ray_jobs.sources.bounds import MOST_LINE
from ray_jobs.sources.filesystem import opened

Cells = dict[str, Any]
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def rows(uri: str) -> Iterator[tuple[int, Cells]]:
    """Line number and cells of each row. Raises BadInput naming the line that is none; empty lines are no rows."""
    delimiter = _delimiter(uri)
    with opened(uri) as file:
        lines = _decoded(uri, file)
        yield from _objects(uri, lines) if delimiter is None else _records(uri, lines, delimiter)


def _delimiter(uri: str) -> str | None:
    return next((sign for suffix, sign in DELIMITERS.items() if uri.lower().endswith(suffix)), None)


def _decoded(uri: str, file: Any) -> Iterator[str]:
    for number, line in enumerate(iter(partial(file.readline, MOST_LINE + 1), b""), 1):
        if len(line) > MOST_LINE:
            raise BadInput(f"dataset {uri}: line {number} has over {MOST_LINE} bytes; write one row a line")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise BadInput(f"dataset {uri}: line {number} is not UTF-8; save the file as UTF-8") from None


def _objects(uri: str, lines: Iterator[str]) -> Iterator[tuple[int, Cells]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise BadInput(f"dataset {uri}: line {number} is not a JSON object; write one a line")
        yield number, row


def _records(uri: str, lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, Cells]]:
    # Not strict, an open quote would swallow the rest of the file.
    csv.field_size_limit(2**24)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    number = 1
    try:
        for record in reader:
            if header is None and record:
                header = record
                if len(set(header)) < len(header):
                    raise BadInput(f"dataset {uri}: line {number} names a column twice; rename one")
            elif record and header is not None:
                if len(record) != len(header):
                    raise BadInput(
                        f"dataset {uri}: line {number} has {len(record)} columns where line 1 names {len(header)}; "
                        "put quotes around cells that hold the delimiter"
                    )
                yield number, dict(zip(header, record, strict=True))
            number = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(f"dataset {uri}: line {number}: {error}; correct its quotes") from None
