"""Decide when the router repeats the request of a run that ended without a record.

After a RetryableError, the router requests the run at the next arrival, at most once per hour and less often after each
try, and every night. After an InputError, it requests the run when the suite has changed or a person asks, because only
a person can mend the input. The reason is in the `failure.json` of the run's last job. A run that ended before its
first job has no such file and counts as retryable.
"""

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.suite import Suite
from ray_jobs.planning.suite_files import find_suite, read_suite
from ray_jobs.planning.suites import load_suite
from ray_jobs.storage import json_files, object_listing, objects, uris
from ray_jobs.storage.odd_items import describe

RunCount = Callable[[list[str], list[str] | None], int]
MAX_PAUSE_H = 24
LOOKBACK_H = 48
MAX_BYTES = 4 << 20  # bytes of a spec or a failure
MAX_FAILURES_READ = 100  # of one checkpoint's runs


def find_last_failure(root: str, suite_name: str, checkpoint: Checkpoint) -> Failure | None:
    """The newest failure of the checkpoint's runs in the suite. None if there is no readable one.

    An input error does not count if the suite has changed since, because the new suite may mend it.
    """
    folder = f"{uris.make_absolute(root)}/runs/{checkpoint.folder}"
    newest = max(_iter_failures(folder, suite_name), key=lambda item: item[0], default=None)
    return newest[1] if newest else None


def list_retry_ids(run_id: str, today: date) -> list[str]:
    """Ids of all possible retries of the last two days, newest first: by the hour, then by the night."""
    now = _as_datetime(today)
    hours = [f"{run_id}__retry-{now - timedelta(hours=back):%Y%m%dT%H}" for back in range(LOOKBACK_H)]
    return [*hours, *(f"{run_id}__retry-{today - timedelta(days=back):%Y%m%d}" for back in (0, 1))]


def build_nightly_retry_id(run_id: str, today: date) -> str:
    return f"{run_id}__retry-{today:%Y%m%d}"


def count_hours_until_retry(run_id: str, failure: Failure | None, count_runs: RunCount, today: date) -> int:
    """Hours until an arrival may request this run again. 0 if it may now."""
    now, ids = _as_datetime(today), list_retry_ids(run_id, today)
    by_hour, by_night = ids[:LOOKBACK_H], ids[LOOKBACK_H:]
    tries = count_runs([*by_hour[:MAX_PAUSE_H], *by_night], None)
    pause = min(2 ** min(tries, 10), MAX_PAUSE_H)
    waits = [0]
    if tries and count_runs(by_hour[:pause], None):
        waits.append(pause - next(back for back in range(pause) if count_runs(by_hour[: back + 1], None)))
    since = (now.timestamp() - failure.at.timestamp()) / 3600 if failure else pause
    if 0 <= since < pause:  # below 0, a clock was wrong: ignore the failure
        waits.append(math.ceil(pause - since))
    return max(waits)


def _iter_failures(folder: str, suite_name: str) -> Iterator[tuple[float, Failure]]:
    """Each readable failure with its time in epoch seconds."""
    keys = [entry.key for entry in object_listing.iterate_entries(folder)]
    for key in [key for key in keys if key.endswith("/failure.json")][:MAX_FAILURES_READ]:
        run = key.removesuffix("/failure.json")
        specs = [f"{folder}/{name}" for name in keys if name.startswith(f"{run}/spec") and name.endswith(".json")]
        try:
            failure = json_files.load(Failure, f"{folder}/{key}", MAX_BYTES)
            suites = [json.loads(objects.read(spec, at_most=MAX_BYTES))["suite"] for spec in specs[:1]]
            if any(suite["name"] == resolve_suite_name(suite_name) for suite in suites) and not (
                failure.kind == "bad-input" and _has_changed(suite_name, suites[0])
            ):
                yield failure.at.timestamp(), failure
        except Exception as error:  # a run with damaged files counts as retryable
            print(f"passed over: {folder}/{key}: {describe(error)}")


def resolve_suite_name(word: str) -> str:
    """The `name` in the suite that `word` refers to. `word` is a suite's name or the path of its file.

    Records are stored under that name. Returns `word` if the suite cannot be read; `plan` then reports why.
    """
    try:
        return parse_suite(read_suite(find_suite(word), word), word).name
    except Exception:
        return word


def _has_changed(suite_name: str, planned: dict[str, object]) -> bool:
    """Whether the suite differs from the planned one. The baseline does not count, because a run can override it."""
    try:
        today, before = Suite.model_validate(planned), load_suite(suite_name)
    except Exception:
        return False
    gates = [suite.gate.model_copy(update={"baseline": "none"}) for suite in (today, before)]
    return today.model_copy(update={"gate": gates[0]}) != before.model_copy(update={"gate": gates[1]})


def _as_datetime(today: date) -> datetime:
    return today if isinstance(today, datetime) else datetime(today.year, today.month, today.day, tzinfo=UTC)
