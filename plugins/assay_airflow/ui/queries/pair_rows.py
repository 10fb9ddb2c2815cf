"""Reads rows of a table of two runs: a page of them, a histogram, or all of them as a stream."""

from collections.abc import Iterator
from typing import Any

from assay_airflow.ui.queries.chunk_sql import NUMBERS, TEXTS, list_metric_columns
from assay_airflow.ui.queries.database import fetch, open_cursor
from assay_airflow.ui.queries.pair_filters import Choice, Conditions, build_conditions, order_sql, value_sql
from assay_airflow.ui.queries.pair_table import PairTable

STREAM_SECONDS = 300.0
STREAM_ROWS = 2000

Row = dict[str, Any]


def read_page(
    table: PairTable, choice: Choice, higher_is_better: bool | None, offset: int, limit: int
) -> tuple[int, list[Row]]:
    """Returns the number of images that the choice asks for, and the rows of one page of them."""
    conditions = build_conditions(table, choice)
    source, files = _source_sql(table, conditions)
    values = files | conditions.values
    total = table.rows
    if conditions.sql:
        total = fetch(f"SELECT count(*) FROM {source} {conditions.where()}", values)[0][0]
    order = order_sql(table, choice, higher_is_better)
    page = f"SELECT n FROM {source} {conditions.where()} ORDER BY {order} LIMIT {int(limit)} OFFSET {int(offset)}"
    numbers = [number for (number,) in fetch(page, values)]
    return total, read_rows(table, numbers)


def read_rows(table: PairTable, numbers: list[int]) -> list[Row]:
    """Returns the rows with these numbers, in that order."""
    if not numbers:
        return []
    metrics = list_metric_columns(table.metrics)
    texts = _read_by_number(table, "texts", list(TEXTS), numbers)
    values = _read_by_number(table, "numbers", ["n", *metrics], numbers)
    return [texts[number] | {"values": values.get(number, {})} for number in numbers if number in texts]


def _read_by_number(table: PairTable, kind: str, columns: list[str], numbers: list[int]) -> dict[int, Row]:
    rows = fetch(
        f"SELECT {', '.join(columns)} FROM read_parquet($files) WHERE n IN ({', '.join(str(int(n)) for n in numbers)})",
        {"files": table.list_files(kind)},
    )
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def read_histogram(table: PairTable, choice: Choice, bins: int) -> dict[str, Any]:
    """Returns the edges and counts of the sorted value over the images that a choice asks for."""
    conditions = build_conditions(table, choice)
    source, files = _source_sql(table, conditions)
    values = files | conditions.values
    value = value_sql(table, choice.sort, choice.by)
    chosen = f"(SELECT {value} AS v FROM {source} {conditions.where()})"
    low, high, present, total = fetch(f"SELECT min(v), max(v), count(v), count(*) FROM {chosen}", values)[0]
    if not present:
        return {"metric": choice.sort, "edges": [], "counts": [], "missing": total}
    if low == high:
        low, high = low - 0.5, high + 0.5
    width = (high - low) / bins
    edges = [low + place * width for place in range(bins)] + [high]
    counts = [0] * bins
    place_sql = f"least({bins - 1}, greatest(0, floor((v - $low) / $width)))::INTEGER"
    for place, count in fetch(
        f"SELECT {place_sql} AS place, count(*) FROM {chosen} WHERE v IS NOT NULL GROUP BY place",
        values | {"low": low, "width": width},
    ):
        counts[place] = count
    return {"metric": choice.sort, "edges": edges, "counts": counts, "missing": total - present}


def stream_rows(table: PairTable, choice: Choice, higher_is_better: bool | None) -> Iterator[list[Row]]:
    """Yields all rows that a choice asks for, some thousand at a time."""
    conditions = build_conditions(table, choice)
    metrics = list_metric_columns(table.metrics)
    columns = [*TEXTS, *metrics]
    texts = ", ".join(["n", *(name for name in TEXTS if name not in NUMBERS)])
    query = (
        f"SELECT {', '.join(columns)} FROM (SELECT * FROM read_parquet($numbers) "
        f"JOIN (SELECT {texts} FROM read_parquet($texts)) USING (n)) {conditions.where()} "
        f"ORDER BY {order_sql(table, choice, higher_is_better)}"
    )
    values = conditions.values | {"texts": table.list_files("texts"), "numbers": table.list_files("numbers")}
    with open_cursor(STREAM_SECONDS) as cursor:
        cursor.execute(query, values)
        while rows := cursor.fetchmany(STREAM_ROWS):
            yield [_split_values(dict(zip(columns, row, strict=True)), metrics) for row in rows]


def _split_values(row: Row, metrics: list[str]) -> Row:
    return row | {"values": {name: row.pop(name) for name in metrics}}


def _source_sql(table: PairTable, conditions: Conditions) -> tuple[str, dict[str, list[str]]]:
    """Returns the relation that the conditions look at, and the files that it reads."""
    numbers = {"numbers": table.list_files("numbers")}
    if not conditions.needs_texts:
        return "read_parquet($numbers)", numbers
    texts = "(SELECT n, image_id, right_caption, left_caption FROM read_parquet($texts))"
    source = f"(SELECT * FROM read_parquet($numbers) AS v JOIN {texts} AS t USING (n))"
    return source, numbers | {"texts": table.list_files("texts")}
