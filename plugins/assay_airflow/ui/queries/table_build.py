"""Writes the table of two runs, chunk by chunk, so that memory holds one chunk. A damaged part costs its own rows."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from assay_airflow.ui.queries.chunk_sql import (
    CAPTION_COLUMNS,
    NUMBERS,
    SCORE_COLUMNS,
    TEXTS,
    build_chunk_sql,
    list_metric_columns,
    quote_name,
)
from assay_airflow.ui.queries.database import open_cursor
from assay_airflow.ui.queries.part_files import PartFile, locate_parts
from assay_airflow.ui.queries.run_parts import RunParts
from ray_jobs.inputs.names import printable

CHUNK_ROWS = 65_536
CHUNK_SECONDS = 120.0
MOST_PROBLEMS = 20
NUMBER_KINDS = ("DOUBLE", "FLOAT", "BIGINT", "INTEGER")
ROW_GROUPS = {"numbers": 122_880, "texts": 2048}  # rows; a few rows of texts are read out of small groups

Files = dict[str, dict[str, str]]  # the path of each part by its name, for each stage of each side


def write_table(folder: Path, left: RunParts | None, right: RunParts, report: Callable[[int], None]) -> dict[str, Any]:
    """Write the files of the table and return the facts about it. Calls `report` with the number of parts done."""
    metrics, rows, done = list[str](), 0, 0
    problems: list[str] = []
    for number, names in enumerate(_cut_into_chunks(right.scores)):
        files = _locate_chunk(left, right, set(names), problems)
        metrics = metrics or _list_metrics(files["right_scores"], right.record.metrics)
        rows += _write_chunk(folder, number, rows, files, metrics, problems)
        done += len(names)
        report(done)
    expected = sum(part.rows for part in right.scores)
    if rows != expected:
        problems.append(f"{right.run}: {rows} of {expected} images can be shown")
    return {
        "metrics": metrics,
        "rows": rows,
        "has_left": left is not None,
        "problems": [printable(line, 500) for line in problems[-MOST_PROBLEMS:]],
        "built": time.time(),
    }


def _cut_into_chunks(parts: Sequence[PartFile]) -> Iterator[list[str]]:
    """Yields the names of consecutive parts, together at most CHUNK_ROWS rows if a part has fewer."""
    names, rows = list[str](), 0
    for part in parts:
        if names and rows + part.rows > CHUNK_ROWS:
            yield names
            names, rows = [], 0
        names.append(part.name)
        rows += part.rows
    if names:
        yield names


def _locate_chunk(left: RunParts | None, right: RunParts, names: set[str], problems: list[str]) -> Files:
    files: Files = {}
    for side, run in (("right", right), ("left", left)):
        stages = {"scores": run.scores, "captions": run.captions} if run else {"scores": (), "captions": ()}
        for stage, parts in stages.items():
            paths, missing = locate_parts([part for part in parts if part.name in names])
            files[f"{side}_{stage}"] = paths
            problems += [f"{side} {stage}, {line}" for line in missing]
    return files


def _list_metrics(scores: dict[str, str], known: Sequence[str] | dict[str, Any]) -> list[str]:
    """Returns the metrics that the first readable part has as columns of numbers."""
    for path in scores.values():
        try:
            with open_cursor(CHUNK_SECONDS, is_build=True) as cursor:
                columns = cursor.execute("DESCRIBE SELECT * FROM read_parquet($path)", {"path": path}).fetchall()
        except duckdb.Error:
            continue
        numbers = {name for name, kind, *_ in columns if kind in NUMBER_KINDS}
        return [name for name in known if name in numbers]
    return []


def _write_chunk(folder: Path, number: int, first: int, files: Files, metrics: list[str], problems: list[str]) -> int:
    """Write the files of one chunk and return its rows: without the parts that DuckDB cannot read."""
    if not files["right_scores"]:
        return 0
    try:
        return _copy_chunk(folder, number, first, files, metrics)
    except duckdb.Error:
        if not _drop_damaged(files, metrics, problems):
            raise
    return _copy_chunk(folder, number, first, files, metrics) if files["right_scores"] else 0


def _copy_chunk(folder: Path, number: int, first: int, files: Files, metrics: list[str]) -> int:
    left_metrics = _list_metrics(files["left_scores"], metrics)
    query = build_chunk_sql(files, metrics, left_metrics)
    values: dict[str, Any] = {stage: list(paths.values()) for stage, paths in files.items() if paths}
    values |= {"names": list(files["right_scores"]), "first": first}
    columns = {"numbers": [*NUMBERS, *list_metric_columns(metrics)], "texts": list(TEXTS)}
    with open_cursor(CHUNK_SECONDS, is_build=True) as cursor:
        cursor.execute(f"CREATE TEMP TABLE chunk AS {query}", values)
        for kind, names in columns.items():
            target = str(folder / f"{kind}-{number:05d}.parquet").replace("'", "''")
            cursor.execute(
                f"COPY (SELECT {', '.join(names)} FROM chunk ORDER BY n) TO '{target}' "
                f"(FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUPS[kind]}, COMPRESSION lz4_raw)"
            )
        rows: int = cursor.execute("SELECT count(*) FROM chunk").fetchall()[0][0]
        cursor.execute("DROP TABLE chunk")
    return rows


def _drop_damaged(files: Files, metrics: list[str], problems: list[str]) -> bool:
    """Remove the parts that cannot be read, with a line for each. Returns whether there were any."""
    before = len(problems)
    for stage, paths in files.items():
        columns = {"right_scores": (*SCORE_COLUMNS, *metrics), "left_scores": SCORE_COLUMNS}.get(stage, CAPTION_COLUMNS)
        query = f"SELECT count(hash({', '.join(map(quote_name, columns))})) FROM read_parquet($path)"
        for name, path in list(paths.items()):
            try:
                with open_cursor(CHUNK_SECONDS, is_build=True) as cursor:
                    cursor.execute(query, {"path": path}).fetchall()
            except duckdb.Error as error:
                reason = str(error).replace(path, f"{name}.parquet").splitlines()[0][:200]
                problems.append(f"{stage.replace('_', ' ')}, {name}: not readable ({reason})")
                del paths[name]
    return len(problems) > before
