"""Keeps the decisions of people about runs, and says which runs of a series are accepted.

    decisions/{suite}/{series_id}/{number}-{token}.json       number: 000001 and up; token: drawn for each decision

`baselines` follows these decisions. `assay records decide` and the pages in Airflow write them. No file is ever written
twice, so the files of a series are its log. A person who has not seen the last decision is told. If two decide at the
same instant, both files stay, with one number, whatever the store makes of two writers.
"""

import logging
import re
import secrets
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pydantic import ValidationError

from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.decision import MAX_NAME, MAX_REASON, Decision
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import json_files, object_listing, objects
from ray_jobs.storage.index import READS, IndexEntry

LARGEST = 1 << 20  # bytes of a decision's file
NAME = re.compile(r"(?:[A-Za-z0-9_]+/)?(\d{6})-[0-9a-f]{8}\.json", re.ASCII)
TIME = "%Y%m%dT%H%M%S.%fZ"  # as in the keys of the index

log = logging.getLogger("assay")


def list_decisions(root: str, suite: str, series_id: str | None = None) -> list[Decision]:
    """Returns the decisions about runs of a suite, or of one of its series, each series' oldest first.

    A file that is no decision is left out with a warning. Raises NewerSchema for a file of a newer Assay, because the
    baseline may depend on it, and RetryableError when the store does not answer.
    """
    folder = f"{root}/decisions/{suite}" + (f"/{series_id}" if series_id else "")
    return _read_all(folder, _list_names(folder))


def decide(
    root: str, record: Record, accepted: bool, reason: str, decided_by: str, seen: int | None = None
) -> Decision:
    """Write a decision about a published run. Returns it.

    `seen` is the number of the series' last decision that the person has seen, 0 if there was none; None: whatever was
    decided before. The decision that a run has already, in the same words of the same person, is not written again.
    Raises InputError without a reason, if the run is INCOMPLETE and cannot be accepted, and if another decision
    was made since the `seen` one.
    """
    reason, decided_by = reason.strip(), decided_by.strip()
    if not reason or len(reason) > MAX_REASON:
        raise InputError(f"decision: its reason has {len(reason)} characters; give one of 1 to {MAX_REASON}")
    if not decided_by or len(decided_by) > MAX_NAME:
        raise InputError(
            f"decision: the name of who decides has {len(decided_by)} characters; give one of 1 to {MAX_NAME}"
        )
    if accepted and record.verdict.outcome == "INCOMPLETE":
        raise InputError(
            f"run {record.run_uri}: INCOMPLETE, so there is nothing to accept; mend what its reason names and validate "
            "it again"
        )
    folder = f"{root}/decisions/{record.suite}/{record.series_id}"
    names = _list_names(folder)
    earlier = _read_all(folder, names)
    if same := _find_same(earlier, record, accepted, reason, decided_by):
        return same
    if seen is not None and earlier and (newest := earlier[-1]).number != seen:
        raise InputError(
            f"run {record.run_uri}: {printable(newest.decided_by, MAX_NAME)} decided about "
            f"{printable(newest.checkpoint, MAX_NAME)} meanwhile; look again, then decide"
        )
    number = int(names[-1].partition("-")[0]) + 1 if names else 1
    decision = Decision(
        number=number, suite=record.suite, series_id=record.series_id, run_id=record.run_id,
        checkpoint_folder=record.checkpoint.folder, checkpoint=record.checkpoint.name[:MAX_NAME],
        outcome=record.verdict.outcome, accepted=accepted, reason=reason, decided_by=decided_by,
        decided_at=datetime.now(UTC),
    )  # fmt: skip
    objects.write(f"{folder}/{number:06d}-{secrets.token_hex(4)}.json", decision.model_dump_json(indent=1).encode())
    return decision


def root_of(run_uri: str) -> str:
    """Returns the root that holds the folder of a run, `{root}/runs/{checkpoint}/{run_id}`."""
    return run_uri.rsplit("/", 3)[0]


def list_about(run_uri: str, record: Record) -> list[Decision]:
    """Returns the decisions about the run, the oldest first. Raises as `list_decisions` does."""
    key = record.series_id, record.checkpoint.folder, record.run_id
    series = list_decisions(root_of(run_uri), record.suite, record.series_id)
    return [each for each in series if (each.series_id, each.checkpoint_folder, each.run_id) == key]


def list_accepted(
    entries: Iterable[IndexEntry], decisions: Iterable[Decision], needs_person: bool = False
) -> list[IndexEntry]:
    """Returns the accepted runs among these, in the order in which they were accepted.

    A run is accepted by its verdict, PASS, when it is published, or by a person at the time of the decision. The last
    decision about a run counts, if it was about the outcome that the run has. With `needs_person`, no verdict accepts
    a run.
    """
    last = last_decisions(decisions)
    times: list[tuple[str, IndexEntry]] = []
    for entry in entries:
        decision = last.get((entry.series_id, entry.checkpoint_folder, entry.run_id))
        if decision and decision.outcome == entry.outcome:
            if decision.accepted:
                times.append((f"{decision.decided_at:{TIME}}", entry))
        elif entry.outcome == "PASS" and not needs_person:
            times.append((entry.published_at, entry))
    return [entry for _, entry in sorted(times, key=lambda pair: (pair[0], pair[1].run_id))]


def last_decisions(decisions: Iterable[Decision]) -> dict[tuple[str, str, str], Decision]:
    """Returns the last decision about each run, by the ids of series and run and the folder between them."""
    return {(each.series_id, each.checkpoint_folder, each.run_id): each for each in decisions}


def _find_same(
    earlier: Sequence[Decision], record: Record, accepted: bool, reason: str, decided_by: str
) -> Decision | None:
    """Returns the run's last decision if it is this one, as when a task is tried again."""
    decision = last_decisions(earlier).get((record.series_id, record.checkpoint.folder, record.run_id))
    facts = (accepted, reason, decided_by, record.verdict.outcome)
    if decision and facts == (decision.accepted, decision.reason, decision.decided_by, decision.outcome):
        return decision
    return None


def _list_names(folder: str) -> list[str]:
    """Returns the names of the decisions below a folder, also of those that cannot be read, sorted."""
    return sorted(entry.key for entry in object_listing.iterate_entries(folder) if NAME.fullmatch(entry.key))


def _read_all(folder: str, names: Sequence[str]) -> list[Decision]:
    with ThreadPoolExecutor(READS) as pool:
        return [decision for decision in pool.map(lambda name: _read(f"{folder}/{name}"), names) if decision]


def _read(uri: str) -> Decision | None:
    try:
        decision = json_files.load(Decision, uri, LARGEST)
    except NewerSchema:
        raise
    except (FileNotFoundError, ValidationError, InputError) as error:
        log.warning("decisions: %s is left out: no decision of this version (%s)", uri, type(error).__name__)
        return None
    if f"/decisions/{decision.suite}/{decision.series_id}/{decision.number:06d}-" in uri:
        return decision
    log.warning("decisions: %s is left out: its content is of another place", uri)
    return None
