"""Stores the judge's answers by the content of the question, so that no question is paid for twice.

The driver of `evaluate` writes here; its Ray tasks read. A file is `{judge_uri}/{part}/{hash of the file}.parquet` and
has one answer, a block of answers, or all answers of a part. Invariant: a file never changes. Small files are merged
into a new file before they are deleted, so a kill at any instant loses no answer. A failure is stored too, until an
answer to the same question takes its place.
"""

import hashlib
import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ray_jobs.storage import object_listing, objects, parts

SMALL_FILE_BYTES = 4 * 2**20  # larger files are not merged
MAX_LISTINGS = 8

SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "text": pa.string(),
        "failure": pa.string(),
        "detail": pa.string(),
        "prompt_tokens": pa.int64(),
        "tokens": pa.int64(),
        "run": pa.string(),
        "at": pa.float64(),
        "served_by": pa.string(),
    }
)


@dataclass(frozen=True)
class Answer:
    """The answer to a question: a text, or a `failure` with its `detail` and perhaps with the unusable text.

    The tokens are those of all tries. `run` names the attempt that asked. `at` is the time, in seconds since the epoch.
    `served_by` is the model that the endpoint named. It is None if the endpoint named none, and in files older than
    this column.
    """

    key: str
    text: str | None
    failure: str | None
    detail: str | None
    prompt_tokens: int
    tokens: int
    run: str
    at: float
    served_by: str | None = None


def save_answers(judge_uri: str, part: str, answers: Iterable[Answer]) -> None:
    """Write the answers to a new file."""
    rows = [asdict(answer) for answer in answers]
    _write_table(judge_uri, part, pa.Table.from_pylist(rows, schema=SCHEMA))


def load_answers(judge_uri: str, part: str, keys: Collection[str]) -> dict[str, Answer]:
    """The stored answer, or else the stored failure, by key. Questions without either are left out."""
    wanted = pa.array(list(keys), pa.string())
    tables = _read_tables(judge_uri, part)
    rows = [table.filter(pc.is_in(table["key"], wanted)) for table in tables.values()]
    return _choose_best(rows)


def merge_small_files(judge_uri: str, part: str) -> None:
    """Merge the small files of a part into one."""
    small = _read_tables(judge_uri, part, SMALL_FILE_BYTES)
    if len(small) < 2:
        return
    best = sorted(_choose_best(small.values()).values(), key=lambda answer: answer.key)
    merged = _write_table(judge_uri, part, pa.Table.from_pylist([asdict(answer) for answer in best], schema=SCHEMA))
    for name in small:
        if name != merged:
            objects.delete(f"{judge_uri}/{part}/{name}")


def _choose_best(tables: Iterable[pa.Table]) -> dict[str, Answer]:
    """One answer per question: the first valid one, because it is final; else the last failure."""
    best: dict[str, Answer] = {}
    for row in (row for table in tables for row in table.to_pylist()):
        answer = Answer(**row)
        earlier = best.get(answer.key)
        if earlier is None or _rank(answer) < _rank(earlier):
            best[answer.key] = answer
    return best


def _rank(answer: Answer) -> tuple[bool, float, str]:
    return answer.failure is not None, -answer.at if answer.failure else answer.at, repr(answer)


def _write_table(judge_uri: str, part: str, table: pa.Table) -> str:
    data = parts.encode(table, {})
    name = f"{hashlib.sha256(data).hexdigest()[:32]}.parquet"
    objects.create(f"{judge_uri}/{part}/{name}", data)
    return name


def _read_tables(judge_uri: str, part: str, below: int | None = None) -> dict[str, pa.Table]:
    """The tables in a part's files, by file name. With `below`, only files smaller than `below` bytes.

    The files are listed again until a listing shows no new file, because another job may merge files meanwhile. That
    job writes the merged file before it deletes the small ones, so a later listing shows the answers. If listings are
    still out of date after MAX_LISTINGS, the questions are asked again.
    """
    tables: dict[str, pa.Table] = {}
    deleted, seen = set[str](), set[str]()
    for look in range(MAX_LISTINGS):
        listed = [
            entry for entry in object_listing.iterate_entries(f"{judge_uri}/{part}") if entry.key.endswith(".parquet")
        ]
        names = {entry.key for entry in listed if below is None or entry.size < below}
        for name in sorted(names - tables.keys() - deleted):
            try:
                tables[name] = parts.decode(objects.read(uri := f"{judge_uri}/{part}/{name}"), uri=uri)
            except FileNotFoundError:
                deleted.add(name)
        if look and names <= seen:
            if not deleted & names:
                break
            time.sleep(0.05 * 2**look)
        seen = names
    return tables
