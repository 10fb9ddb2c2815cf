"""Read the rows of a JSONL, CSV, TSV, JSON or caption file. Each row has the number of its first line.

A file with a further suffix `.gz` is unpacked while it is read.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

from ray_jobs.dataset import image_formats
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.sources.cells.columns import PLACES
from ray_jobs.sources.listing.bounds import MOST_LINE
from ray_jobs.sources.rows.annotations import read_json_rows
from ray_jobs.sources.rows.tab_separated import read_tab_records
from ray_jobs.storage.arrow_files import open_stored

Cells = dict[str, Any]
Lines = Iterator[str]
TOKEN = re.compile(r"(?P<name>[^\t]+)#\d+\t(?P<text>.*)", re.DOTALL)  # Flickr8k.token.txt, results_20130124.token
EXCEL = re.compile(r"sep=(.)\r?\n")  # a first line in which Excel names the delimiter
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
SIGNS = ",|;\t"  # the delimiters of a .csv file; the first of them that the first line contains is used
PLACE = re.compile(
    rf"(https?|s3)://\S+|[^,]{{1,500}}({'|'.join(map(re.escape, image_formats.SUFFIXES))})", re.IGNORECASE
)
TEXT_FORMS = "image#0<TAB>caption, image<TAB>caption, a header like image,caption, or a path a line"


def read_rows(uri: str, head: bool = False) -> Iterator[tuple[int, Cells]]:
    """(line number, cells) of each row. Empty lines are not rows.

    `head` leaves out the annotations of a JSON file, so that the first rows come at once. Raises InputError with the
    number of the first line that is not a row.
    """
    name = uri.lower().removesuffix(".gz")
    with _open_unpacked(uri) as file:
        if name.endswith(".json") and not _is_of_lines(file):
            yield from read_json_rows(uri, file, head)
            return
        lines = _decode_lines(uri, file)
        if name.endswith((".jsonl", ".ndjson", ".json")):
            yield from _parse_objects(uri, lines)
        elif name.endswith(".csv"):
            first = next(lines, "")
            if excel_line := EXCEL.fullmatch(first):
                yield from _parse_separated(uri, chain(["\n"], lines), excel_line[1])
            else:
                yield from _parse_separated(uri, chain([first], lines), _sign_of(first))
        elif name.endswith(".tsv"):
            yield from _parse_separated(uri, lines, "\t")
        else:
            yield from _parse_texts(uri, lines)


@contextmanager
def _open_unpacked(uri: str) -> Iterator[io.BufferedReader]:
    with open_stored(uri) as file:
        if uri.lower().endswith(".gz"):
            with gzip.GzipFile(fileobj=file) as packed, io.BufferedReader(packed) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield file


def _is_of_lines(file: io.BufferedReader) -> bool:
    """True if a file named .json has one object per line. Leaves the file at its start."""
    line = file.readline(MOST_LINE)
    more = file.read(4096).strip()
    file.seek(0)
    try:
        return bool(more) and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _sign_of(header: str) -> str:
    """The delimiter of a table, from its header. Flickr30k's results.csv has pipes."""
    return next((sign for sign in SIGNS if sign in header), ",")


def _decode_lines(uri: str, file: Any) -> Lines:
    for number, line in enumerate(iter(partial(file.readline, MOST_LINE + 1), b""), 1):
        if len(line) > MOST_LINE:
            raise InputError(f"dataset {uri}: line {number} has over {MOST_LINE} bytes; write one row a line")
        if number == 1 and line.startswith(UTF_16):
            raise InputError(f"dataset {uri}: is UTF-16, as Excel's Unicode text is; save it as CSV UTF-8")
        if number == 1 and b"\r" in line.rstrip(b"\r\n"):
            raise InputError(f"dataset {uri}: its lines end with \\r alone, as on old Macs; save it with \\n")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise InputError(f"dataset {uri}: line {number} is not UTF-8; save the file as UTF-8") from None


def _parse_objects(uri: str, lines: Lines) -> Iterator[tuple[int, Cells]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"dataset {uri}: line {number} is not a JSON object; write one a line")
        yield number, row


def _parse_texts(uri: str, lines: Lines) -> Iterator[tuple[int, Cells]]:
    """The rows of a .txt or .token file: captions by image name, as in Flickr8k and Flickr30k, or paths."""
    first = next(lines, "")
    lines = chain([first], lines)
    header = [name.strip().lower() for name in first.split(_sign_of(first))]
    if len(header) > 1 and header[0] in PLACES:
        yield from _parse_separated(uri, lines, _sign_of(first))
        return
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        name, tab, text = line.partition("\t")
        if match := TOKEN.fullmatch(line):
            yield number, {"file_name": match["name"], "caption": match["text"]}
        elif text.count("\t"):
            cells = text.count("\t") + 2
            raise InputError(
                f"dataset {uri}: line {number} has {cells} cells without names; write a .tsv with a header"
            )
        elif name.strip().lower().endswith(image_formats.SUFFIXES):
            yield number, {"file_name": name.strip()} | ({"caption": text} if tab else {})
        elif line.strip():
            raise InputError(f"dataset {uri}: line {number} names no image; write {TEXT_FORMS}")


def _parse_separated(uri: str, lines: Lines, sign: str) -> Iterator[tuple[int, Cells]]:
    records = read_tab_records(lines) if sign == "\t" else _records(lines, sign)
    header: list[str] | None = None
    number = 1
    try:
        for record, end in records:
            if sign == "|":
                record = [cell.strip() for cell in record]
            if header is None and record:
                header = record
                if row := next((cell for cell in header if PLACE.fullmatch(cell.strip())), None):
                    some = printable(row, 60)
                    raise InputError(f"dataset {uri}: line 1 is a row ({some}); write the columns' names above it")
                if len(set(header)) < len(header):
                    raise InputError(f"dataset {uri}: line {number} names a column twice; rename one")
            elif record and header is not None:
                if len(record) != len(header):
                    raise InputError(
                        f"dataset {uri}: line {number} has {len(record)} columns where line 1 names {len(header)}; "
                        "put quotes around cells that hold the delimiter"
                    )
                yield number, dict(zip(header, record, strict=True))
            number = end + 1
    except csv.Error as error:
        raise InputError(f"dataset {uri}: line {number}: {error}; correct its quotes") from None


def _records(lines: Lines, sign: str) -> Iterator[tuple[list[str], int]]:
    """(cells, number of the last line) of each record."""
    csv.field_size_limit(2**24)
    # Without `strict`, an open quote would take in the rest of the file.
    reader = csv.reader(lines, delimiter=sign, strict=True)
    for record in reader:
        yield record, reader.line_num
