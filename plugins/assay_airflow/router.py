"""Which checkpoints still have to be validated: what lies below the prefix and is whole, minus what has a record.

Reconciles instead of trusting events: one that was lost, or that came twice, changes nothing. One odd folder never
stops the others and a pass costs what is new (`survey.py`). A run that ended without a record is asked for again
(`retries.py`).
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from assay_airflow import retries
from assay_airflow.listings import list_checkpoints, natural_key
from assay_airflow.odd_folders import OddFolders
from assay_airflow.retries import RunCount
from assay_airflow.survey import Survey
from ray_jobs.checkpoints.inspect import check_whole
from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.ids import slug
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.names import check_name, printable
from ray_jobs.storage import objects, records
from ray_jobs.storage.odd_items import raise_outage

ACTIVE = ["queued", "running"]
MOST_REQUESTS = 200  # of a pass: Airflow expands a task into 1,024 at most, and each is one validation after the other
MOST_NAMED = 100  # folders passed over that the summary names; the log names all
Occasion = Literal["arrival", "night", "person"]
WhyEnded = Callable[[Checkpoint], Failure | None]


@dataclass
class Pass:
    """What one pass came to: the runs to trigger, and what became of every other folder.

    `rest`: the pass was cut at `MOST_REQUESTS`, and another one is to follow it, for the same `occasion`.
    """

    requests: list[dict[str, Any]] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)
    recorded: int = 0
    rest: bool = False
    occasion: Occasion = "arrival"

    def last(self) -> str | None:
        """The name of the last checkpoint that is asked for."""
        return self.requests[-1]["conf"]["checkpoint"].rpartition("/")[2] if self.requests else None

    def line(self) -> str:
        rest = f", cut at {MOST_REQUESTS}: the rest in the next pass" if self.rest else ""
        return f"{len(self.passed_over)} passed over, {len(self.requests)} to validate{rest}"

    def summary(self) -> dict[str, Any]:
        """Small enough for an XCom."""
        named = list(self.passed_over.values())[:MOST_NAMED]
        told = {"line": self.line(), "passed_over": named, "recorded": self.recorded, "rest": self.rest}
        return told | ({"occasion": self.occasion, "after": self.last()} if self.rest else {})


def prefix() -> str | None:
    """ASSAY_CHECKPOINTS: the folder whose folders are checkpoints."""
    uri = os.environ.get("ASSAY_CHECKPOINTS")
    return objects.absolute(uri) if uri else None


def suite() -> str:
    return os.environ.get("ASSAY_ROUTER_SUITE", "demo")


def names(uri: str) -> list[str]:
    """Names of the folders below the prefix, step-200 before step-1000: so that baselines go forward."""
    return sorted((name for name in objects.folders(uri) if not name.startswith(".")), key=natural_key)


def make_pass(
    root: str,
    suite_name: str,
    uri: str,
    count_runs: RunCount,
    occasion: Occasion,
    now: date,
    after: str | None = None,
) -> Pass:
    """One pass of the router. Raises RetryableError or InputError where the store cannot be read: never for one
    checkpoint.

    With `after`, only checkpoints whose names come behind that one are asked for.
    """
    result = Pass(occasion=occasion)
    survey = Survey(root, suite_name, uri, reopen=occasion != "arrival")
    with closing(_unrecorded(survey, root, suite_name, result, after)) as waiting:
        result.requests = requests(
            waiting,
            suite_name,
            count_runs,
            occasion != "arrival",
            now,
            why_ended=lambda checkpoint: retries.why_ended(root, suite_name, checkpoint),
            by_a_person=occasion == "person",
        )
    if not result.requests:
        survey.raise_if_nothing_could_be_read()
    result.rest = len(result.requests) >= MOST_REQUESTS
    print(result.line())
    return result


def unvalidated(root: str, suite_name: str, uri: str) -> Iterator[Checkpoint]:
    """Whole checkpoints below `uri` without a record in the suite, in order of name; the others are accounted for.

    Adapters that name no base of their own have the suite's.
    """
    yield from _unrecorded(Survey(root, suite_name, uri), root, suite_name, Pass())


def _unrecorded(
    survey: Survey, root: str, suite_name: str, result: Pass, after: str | None = None
) -> Generator[Checkpoint]:
    name = retries.name_of_suite(suite_name)
    recorded = {entry.checkpoint_folder for entry in records.published(objects.absolute(root), name)}
    for finding in survey.findings():
        checkpoint = finding.checkpoint
        if after and natural_key(finding.name) <= natural_key(after):
            continue  # the pass before looked at it
        if checkpoint is None:
            result.passed_over[finding.name] = str(finding.refusal)
            print(f"passed over: {finding.refusal}")
        elif checkpoint.folder in recorded:
            result.recorded += 1
            print(f"has a record: {checkpoint.name} ({checkpoint.folder})")
        else:
            yield checkpoint


def requests(
    checkpoints: Iterable[Checkpoint],
    suite_name: str,
    count_runs: RunCount,
    retry_failed: bool,
    today: date,
    why_ended: WhyEnded = lambda checkpoint: None,
    by_a_person: bool = False,
) -> list[dict[str, Any]]:
    """What to trigger `validate_checkpoint` with, one a checkpoint, at most `MOST_REQUESTS`.

    Each is told which one follows it. Run ids are made from the checkpoint's content, so that asking twice asks for one
    run. A run that ended without a record is asked for again: each night and by a person when `retry_failed`, else by
    the hour and only after trouble (`retries.py`). `count_runs(run_ids, states)` counts those that are.
    """
    asked: dict[str, dict[str, Any]] = {}
    last: dict[str, Any] | None = None
    name = slug(retries.name_of_suite(suite_name))
    for checkpoint in checkpoints:
        run_id = f"router__{name}__{checkpoint.folder}"
        if count_runs([run_id, *retries.retry_ids(run_id, today)], ACTIVE):
            print(f"under way: {checkpoint.name} ({run_id})")
            continue
        if count_runs([run_id], None):
            failure = why_ended(checkpoint)
            if failure and failure.kind == "bad-input" and not by_a_person:
                print(
                    f"waits for a person: {checkpoint.name} ({run_id}): {_describe(failure)}; mend that, then "
                    "clear the run, or trigger checkpoint_router by hand"
                )
                continue
            retry = _retry(run_id, failure, count_runs, retry_failed, by_a_person, today)
            if retry is None:
                continue
            run_id = retry
        if run_id in asked:
            print(f"the same as another of this pass: {checkpoint.name} ({run_id})")
            continue
        print(f"to validate: {checkpoint.name} ({run_id})")
        if last:
            last["conf"]["following"] = checkpoint.uri
        last = {"trigger_run_id": run_id, "conf": {"checkpoint": checkpoint.uri, "suite": suite_name}}
        asked[run_id] = last
        if len(asked) >= MOST_REQUESTS:
            break
    return list(asked.values())


def _retry(
    run_id: str, failure: Failure | None, count_runs: RunCount, retry_failed: bool, by_a_person: bool, today: date
) -> str | None:
    """The id to ask again under, None when it is too early."""
    by_night, by_hour = retries.retry_of_the_night(run_id, today), retries.retry_ids(run_id, today)[0]
    if retry_failed:
        if not count_runs([by_night], None):
            return by_night
        if by_a_person and not count_runs([by_hour], None):
            return by_hour
        print(f"failed today: {run_id}; clear it, or wait for the next night")
    elif hours := retries.hours_to_wait(run_id, failure, count_runs, today):
        print(f"failed before: {run_id}; asked for again after {hours} h at the earliest, and by the nightly pass")
    else:
        return by_hour
    return None


def _describe(failure: Failure) -> str:
    return printable(f"{failure.stage}: {failure.message}")


def whole_listings(uri: str, known: dict[str, str], odd: OddFolders | None = None) -> dict[str, str]:
    """A digest by name of each whole checkpoint below `uri`; those whose digest is `known` are not opened again.

    Nor are those that `odd` remembers. Raises InputError or RetryableError where the store cannot be read.
    """
    odd = odd if odd is not None else OddFolders()
    found, listings = {}, list_checkpoints(uri)
    odd.keep_only(set(listings))
    for name, listing in listings.items():
        if known.get(name) == listing.digest:
            found[name] = listing.digest
        elif not odd.holds(name, listing.digest):
            try:
                check_name(name, "checkpoint")
                if listing.error:
                    raise listing.error
                check_whole(f"{uri}/{name}")
            except Exception as error:  # this folder's own
                raise_outage(error, uri)
                odd.add(name, listing.digest, error, f"{uri}/{name}")
            else:
                found[name] = listing.digest
    return found
