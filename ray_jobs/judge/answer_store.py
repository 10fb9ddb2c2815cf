"""The judge's answers by content: kept for good, so that no question is paid for twice.

`{judge_uri}/{part}/{hash of the file}.parquet`: a file may hold one answer, a block or all of a part. A file is never
changed, only merged: what it held is written in another one before it is deleted, so a kill at any instant loses
nothing and two jobs cannot disagree. A failure is kept beside the answers until an answer takes its place.
"""

import hashlib
import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ray_jobs.storage import objects, parts

SMALL_FILE_BYTES = 4 * 2**20  # bytes: larger files are left as they are when small ones are merged
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
    """What came back for a question: a text, or a `failure` (perhaps with the useless text) and its `detail`.

    The tokens are those of all tries. `run` names who asked; `at` is when, in seconds since the epoch. `served_by` is
    the model that an endpoint says it was, None where it did not, and in files older than this column.
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
    """Make answers durable, in a file of their own."""
    rows = [asdict(answer) for answer in answers]
    _write_table(judge_uri, part, pa.Table.from_pylist(rows, schema=SCHEMA))


def load_answers(judge_uri: str, part: str, keys: Collection[str]) -> dict[str, Answer]:
    """The answers to the questions with these keys, failures too where there is nothing better."""
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
    """One answer a question: the first that was useful, for it stands whatever comes later; else the last failure."""
    found: dict[str, Answer] = {}
    for row in (row for table in tables for row in table.to_pylist()):
        answer = Answer(**row)
        before = found.get(answer.key)
        if before is None or _rank(answer) < _rank(before):
            found[answer.key] = answer
    return found


def _rank(answer: Answer) -> tuple[bool, float, str]:
    return answer.failure is not None, -answer.at if answer.failure else answer.at, repr(answer)


def _write_table(judge_uri: str, part: str, table: pa.Table) -> str:
    data = parts.encoded(table, {})
    name = f"{hashlib.sha256(data).hexdigest()[:32]}.parquet"
    objects.create(f"{judge_uri}/{part}/{name}", data)
    return name


def _read_tables(judge_uri: str, part: str, below: int | None = None) -> dict[str, pa.Table]:
    """The files of a part by name, looked for until a listing shows none that is new.

    What another job merges and deletes meanwhile is in a file that was there before: a listing that missed both is
    followed by one that shows it. On a store whose listings lag, what stays lost is asked again.
    """
    found: dict[str, pa.Table] = {}
    gone, before = set[str](), set[str]()
    for look in range(MAX_LISTINGS):
        listed = [entry for entry in objects.entries(f"{judge_uri}/{part}") if entry.key.endswith(".parquet")]
        names = {entry.key for entry in listed if below is None or entry.size < below}
        for name in sorted(names - found.keys() - gone):
            try:
                found[name] = parts.table(objects.read(uri := f"{judge_uri}/{part}/{name}"), uri=uri)
            except FileNotFoundError:
                gone.add(name)
        if look and names <= before:
            if not gone & names:
                break
            time.sleep(0.05 * 2**look)
        before = names
    return found
