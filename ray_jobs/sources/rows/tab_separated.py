"""Read the records of a TSV file. Quotes are text unless a CSV writer clearly wrote them. `row_files` calls this.

Most TSV files have no quoting: `"stop" sign` is a caption. pandas and Python's `csv` quote a cell that contains a tab,
a quote or a line end. A record is read with quoting when that gives as many cells as the header has. Otherwise its
quotes are text.
"""

import csv
from collections.abc import Iterator

MOST_LINES = 1000  # the most lines of a quoted record


class _Lines:
    """Lines with a look ahead of one line. `number` counts the lines that were taken."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._next = lines, list[str]()
        self.number = 0

    def peek(self) -> str | None:
        if not self._next:
            self._next.extend(line for line in (next(self._lines, None),) if line is not None)
        return self._next[0] if self._next else None

    def take(self) -> str | None:
        line = self.peek()
        self._next.clear()
        self.number += line is not None
        return line


def read_tab_records(lines: Iterator[str]) -> Iterator[tuple[list[str], int]]:
    """(cells, number of the last line) of each record. Raises csv.Error when neither way of reading fits."""
    csv.field_size_limit(2**24)
    source, width = _Lines(lines), 0
    while (line := source.take()) is not None:
        plain, quoted = _split(line), _split_quoted([line])
        if not line.strip("\r\n"):
            yield [], source.number
        elif not width:
            width = len(quoted or plain)
            yield quoted or plain, source.number
        elif quoted and len(quoted) == width:
            yield quoted, source.number
        elif quoted is not None or (
            len(plain) == width and (_is_closed(plain) or _begins_record(source.peek(), width))
        ):
            yield plain, source.number
        else:
            yield _read_over_lines(line, source), source.number


def _begins_record(line: str | None, width: int) -> bool:
    return line is None or len(_split(line)) == width


def _is_closed(cells: list[str]) -> bool:
    """True if no cell opens a quote that another line could close."""
    return not any(cell.startswith('"') and cell.count('"') % 2 for cell in cells)


def _read_over_lines(line: str, source: _Lines) -> list[str]:
    """The cells of a record that spans several lines. Raises csv.Error when its quote is never closed."""
    record = [line]
    while len(record) < MOST_LINES and (following := source.take()) is not None:
        record.append(following)
        if cells := _split_quoted(record):
            return cells
    raise csv.Error("unexpected end of data")


def _split(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _split_quoted(lines: list[str]) -> list[str] | None:
    """The cells of one record by the rules of CSV; None when the lines are not one record."""
    try:
        records = list(csv.reader(lines, delimiter="\t", strict=True))
    except csv.Error:
        return None
    return records[0] if len(records) == 1 else None
