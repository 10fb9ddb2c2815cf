"""When a run that ended without a record is asked for again.

RetryableError: on the next arrival, at most once an hour and less often after each try, and every night. Bad input:
when the suite has changed, or when a person asks, because only a person can mend it. The reason is in the
`failure.json` that the run's last job left; a run that ended before it had a job has none, and counts as trouble.
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
from ray_jobs.storage import json_files, objects
from ray_jobs.storage.odd_items import describe

RunCount = Callable[[list[str], list[str] | None], int]
LONGEST_PAUSE_H = 24
LOOKED_BACK_H = 48
LARGEST = 4 << 20  # bytes of a spec or a failure
NEWEST = 100  # runs of one checkpoint whose failures are looked at


def why_ended(root: str, suite_name: str, checkpoint: Checkpoint) -> Failure | None:
    """The newest failure of the checkpoint's runs in the suite; None where none is kept, or none of them is readable.

    A bad input whose suite has changed since is none either: with the new suite it may be good.
    """
    folder = f"{objects.absolute(root)}/runs/{checkpoint.folder}"
    newest = max(_failures(folder, suite_name), key=lambda item: item[0], default=None)
    return newest[1] if newest else None


def retry_ids(run_id: str, today: date) -> list[str]:
    """Ids of all retries of the last two days, this hour's first."""
    now = _moment(today)
    hours = [f"{run_id}__retry-{now - timedelta(hours=back):%Y%m%dT%H}" for back in range(LOOKED_BACK_H)]
    return [*hours, *(f"{run_id}__retry-{today - timedelta(days=back):%Y%m%d}" for back in (0, 1))]


def retry_of_the_night(run_id: str, today: date) -> str:
    return f"{run_id}__retry-{today:%Y%m%d}"


def hours_to_wait(run_id: str, failure: Failure | None, count_runs: RunCount, today: date) -> int:
    """How many hours must still pass before an arrival asks for this run again; 0 when it may now."""
    now, ids = _moment(today), retry_ids(run_id, today)
    by_hour, by_night = ids[:LOOKED_BACK_H], ids[LOOKED_BACK_H:]
    tries = count_runs([*by_hour[:LONGEST_PAUSE_H], *by_night], None)
    pause = min(2 ** min(tries, 10), LONGEST_PAUSE_H)
    waits = [0]
    if tries and count_runs(by_hour[:pause], None):
        waits.append(pause - next(back for back in range(pause) if count_runs(by_hour[: back + 1], None)))
    since = (now.timestamp() - failure.at.timestamp()) / 3600 if failure else pause
    if 0 <= since < pause:  # a failure of the future has a wrong clock, and holds nothing up
        waits.append(math.ceil(pause - since))
    return max(waits)


def _failures(folder: str, suite_name: str) -> Iterator[tuple[float, Failure]]:
    """Each failure with its time, in seconds."""
    keys = [entry.key for entry in objects.entries(folder)]
    for key in [key for key in keys if key.endswith("/failure.json")][:NEWEST]:
        run = key.removesuffix("/failure.json")
        specs = [f"{folder}/{name}" for name in keys if name.startswith(f"{run}/spec") and name.endswith(".json")]
        try:
            failure = json_files.load(Failure, f"{folder}/{key}", LARGEST)
            suites = [json.loads(objects.read(spec, at_most=LARGEST))["suite"] for spec in specs[:1]]
            if any(suite["name"] == name_of_suite(suite_name) for suite in suites) and not (
                failure.kind == "bad-input" and _has_changed(suite_name, suites[0])
            ):
                yield failure.at.timestamp(), failure
        except Exception as error:  # whatever is odd about this run's files, it is asked for again as after trouble
            print(f"passed over: {folder}/{key}: {describe(error)}")


def name_of_suite(word: str) -> str:
    """The name in the suite that is asked for by this word, which may be the path of its file.

    Records are kept under that name. The word itself where the suite cannot be read, which `plan` then says.
    """
    try:
        return parse_suite(read_suite(find_suite(word), word), word).name
    except Exception:
        return word


def _has_changed(suite_name: str, planned: dict[str, object]) -> bool:
    """Whether the suite would be planned otherwise today, whatever a run was asked to be compared with."""
    try:
        today, before = Suite.model_validate(planned), load_suite(suite_name)
    except Exception:
        return False
    gates = [suite.gate.model_copy(update={"baseline": "none"}) for suite in (today, before)]
    return today.model_copy(update={"gate": gates[0]}) != before.model_copy(update={"gate": gates[1]})


def _moment(today: date) -> datetime:
    return today if isinstance(today, datetime) else datetime(today.year, today.month, today.day, tzinfo=UTC)
