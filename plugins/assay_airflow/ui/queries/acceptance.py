"""Says which runs of a suite are accepted, and what people decided about them."""

import time
from threading import Lock
from typing import Any

from assay_airflow.ui.queries.origins import format_time
from assay_airflow.ui.queries.run_names import read_root
from ray_jobs.contract.decision import Decision
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import decisions
from ray_jobs.storage.index import IndexEntry

FRESH_SECONDS = 3.0

_cache: dict[tuple[str, str], tuple[float, list[Decision]]] = {}
_lock = Lock()

RunKey = tuple[str, str, str]  # series, folder of the checkpoint, run


def find_accepted(suite: str, entries: list[IndexEntry]) -> tuple[set[RunKey], dict[RunKey, Decision], list[str]]:
    """Returns the accepted runs, the last decision about each run, and a line if the decisions cannot be read."""
    try:
        suite_decisions, problems = _list_decisions(suite), []
    except InputError as error:
        suite_decisions, problems = [], [str(error)]
    accepted = decisions.list_accepted(entries, suite_decisions)
    keys = {(entry.series_id, entry.checkpoint_folder, entry.run_id) for entry in accepted}
    return keys, decisions.last_decisions(suite_decisions), problems


def describe_decision(decision: Decision | None) -> dict[str, Any] | None:
    """Returns who decided what about a run, when and why."""
    if decision is None:
        return None
    return {
        "accepted": decision.accepted,
        "reason": decision.reason,
        "by": decision.decided_by,
        "at": format_time(decision.decided_at),
    }


def _list_decisions(suite: str) -> list[Decision]:
    """Returns the decisions of a suite. The answer may be FRESH_SECONDS old."""
    key = (read_root(), suite)
    with _lock:
        read_at, suite_decisions = _cache.get(key, (0.0, []))
        if not read_at or time.monotonic() - read_at > FRESH_SECONDS:
            suite_decisions = decisions.list_decisions(*key)
            _cache[key] = (time.monotonic(), suite_decisions)
    return suite_decisions
