"""Keeps one table of two runs over one golden set, or of one run, in the cache on disk: a row per image.

A part has a few hundred rows and each stage has its own. A page that sorts 100,000 images must not open a thousand
files. So the parts are joined once into Parquet files: `numbers-*` have the metrics of both runs, `texts-*` the
captions and the judge's rationales. Tables are built in a thread of their own, one at a time.
"""

import json
import os
import shutil
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillBuilding
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from assay_airflow.ui.answers import refuse
from assay_airflow.ui.queries.cache_folder import find_pages_cache, mark_used, read_limit, trim
from assay_airflow.ui.queries.run_parts import RunParts
from assay_airflow.ui.queries.table_build import write_table
from ray_jobs.contract.ids import digest

LAYOUT = 1  # raise it when the columns change, so that tables of an earlier version are not read
WAIT_SECONDS = 20.0  # a request waits so long for a build
REPAIR_SECONDS = 30.0  # a table that lacks parts is made again after so long


@dataclass(frozen=True)
class PairTable:
    """A table on disk. The metric `metrics[i]` has the columns `r{i}` and `l{i}`."""

    folder: Path
    metrics: tuple[str, ...]
    rows: int
    has_left: bool
    problems: tuple[str, ...]

    def list_files(self, kind: str) -> list[str]:
        """Returns the paths of the files of a kind: numbers or texts."""
        return sorted(str(path) for path in self.folder.glob(f"{kind}-*.parquet"))


_builds: dict[str, Future[None]] = {}
_progress: dict[str, int] = {}
_lock = Lock()
_builder = ThreadPoolExecutor(1, thread_name_prefix="assay-pages")


def open_pair_table(left: RunParts | None, right: RunParts) -> PairTable:
    """Returns the table of two runs, built now if it is not there.

    Raises HTTPException 422 when the runs are over two golden sets, and 503 while a long build goes on.
    """
    if left and left.record.golden_id != right.record.golden_id:
        golden_ids = f"{left.record.golden_id} and {right.record.golden_id}"
        raise refuse(
            422, f"{left.run} and {right.run}: not over one golden set ({golden_ids}), so no image can be compared"
        )
    key = digest(LAYOUT, left.identity if left else "", right.identity)
    folder = find_pages_cache() / "tables" / key
    if table := _read_table(folder):
        return table
    with _lock:
        if key not in _builds:
            _builds[key] = _builder.submit(_build_table, key, folder, left, right)
        build = _builds[key]
    try:
        build.result(WAIT_SECONDS)
    except StillBuilding:
        done, total = _progress.get(key, 0), len(right.scores)
        line = f"the images of {right.run} are prepared: {done} of {total} parts; try again in a moment"
        raise refuse(503, line, {"Retry-After": "3"}) from None
    table = _read_table(folder)
    if table is None:
        raise refuse(503, f"the table of {right.run} was removed while it was made; try again")
    return table


def _read_table(folder: Path) -> PairTable | None:
    try:
        facts = json.loads((folder / "about.json").read_text())
    except (OSError, ValueError):
        return None
    if facts["problems"] and time.time() - facts["built"] > REPAIR_SECONDS:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    mark_used(folder)
    return PairTable(folder, tuple(facts["metrics"]), facts["rows"], facts["has_left"], tuple(facts["problems"]))


def _build_table(key: str, folder: Path, left: RunParts | None, right: RunParts) -> None:
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
    try:
        facts = write_table(building, left, right, lambda done: _progress.update({key: done}))
        (building / "about.json").write_text(json.dumps(facts))
        try:
            os.rename(building, folder)
        except OSError:  # another process of the API server was first
            shutil.rmtree(building, ignore_errors=True)
        trim(folder.parent, read_limit(), keep={folder})
    finally:
        shutil.rmtree(building, ignore_errors=True)
        with _lock:
            _builds.pop(key, None)
            _progress.pop(key, None)
