"""Find the checkpoints to validate: the complete ones below a folder that have no record in the suite.

The task `reconcile` runs a pass, and the watcher in the triggerer calls `list_whole`. A pass compares
storage with records and trusts no event, so a lost or repeated event changes nothing. One faulty folder never stops the
others. A pass opens only new folders (`survey.py`). A run that ended without a record is retried (`retries.py`).
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
from ray_jobs.checkpoints.inspect import require_complete
from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.ids import slug
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.names import check_name, printable
from ray_jobs.storage import index, object_listing, uris
from ray_jobs.storage.odd_items import raise_outage

ACTIVE = ["queued", "running"]
MAX_REQUESTS = 200  # per pass: Airflow maps a task at most 1,024 times, and validations run one after the other
MAX_NAMED = 100  # folders in the summary, and folders with a record in the log; the log names all others
Occasion = Literal["arrival", "night", "person"]
FindFailure = Callable[[Checkpoint], Failure | None]


@dataclass
class Pass:
    """The result of one pass: the runs to trigger, and why every other folder is not triggered.

    `rest`: the pass was cut at `MAX_REQUESTS`, so another pass follows for the same `occasion`.
    """

    requests: list[dict[str, Any]] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)
    recorded: int = 0
    rest: bool = False
    occasion: Occasion = "arrival"

    def last(self) -> str | None:
        """The name of the last checkpoint in `requests`."""
        return self.requests[-1]["conf"]["checkpoint"].rpartition("/")[2] if self.requests else None

    def line(self) -> str:
        rest = f", cut at {MAX_REQUESTS}: the rest in the next pass" if self.rest else ""
        return f"{len(self.passed_over)} passed over, {len(self.requests)} to validate{rest}"

    def note(self) -> str:
        """What the pass found and did, in one line: for the note of its run."""
        names = [printable(request["conf"]["checkpoint"].rpartition("/")[2], 80) for request in self.requests]
        span = f" ({' to '.join([names[0], *names[1:][-1:]])})" if names else ""
        rest = ", the rest in the next pass" if self.rest else ""
        return (
            f"ROUTER: {len(names)} to validate{span}{rest} · {self.recorded} validated before · "
            f"{len(self.passed_over)} passed over"
        )

    def summary(self) -> dict[str, Any]:
        """Small enough for an XCom."""
        named = list(self.passed_over.values())[:MAX_NAMED]
        content = {
            "line": self.line(),
            "note": self.note(),
            "passed_over": named,
            "recorded": self.recorded,
            "rest": self.rest,
        }
        return content | ({"occasion": self.occasion, "after": self.last()} if self.rest else {})


def read_checkpoints_uri() -> str | None:
    """ASSAY_CHECKPOINTS: the folder whose folders are checkpoints."""
    uri = os.environ.get("ASSAY_CHECKPOINTS")
    return uris.make_absolute(uri) if uri else None


def read_suite_name() -> str:
    return os.environ.get("ASSAY_ROUTER_SUITE", "demo")


def list_names(uri: str) -> list[str]:
    """Names of the folders below `uri`, step-200 before step-1000, so that baselines go forward."""
    return sorted((name for name in object_listing.list_subfolders(uri) if not name.startswith(".")), key=natural_key)


def run_pass(
    root: str,
    suite_name: str,
    uri: str,
    count_runs: RunCount,
    occasion: Occasion,
    now: date,
    after: str | None = None,
) -> Pass:
    """Run one pass of the router. With `after`, requests only checkpoints whose names come after that one.

    Raises RetryableError or InputError if the store cannot be read, never for one checkpoint.
    """
    result = Pass(occasion=occasion)
    survey = Survey(root, suite_name, uri, reopen=occasion != "arrival")
    with closing(_iter_unrecorded(survey, root, suite_name, result, after)) as checkpoints:
        result.requests = build_requests(
            checkpoints,
            suite_name,
            count_runs,
            occasion != "arrival",
            now,
            why_ended=lambda checkpoint: retries.find_last_failure(root, suite_name, checkpoint),
            by_a_person=occasion == "person",
        )
    if not result.requests:
        survey.raise_if_nothing_could_be_read()
    result.rest = len(result.requests) >= MAX_REQUESTS
    if result.recorded > MAX_NAMED:
        print(f"{result.recorded - MAX_NAMED} more have a record")
    print(result.line())
    return result


def iter_unvalidated(root: str, suite_name: str, uri: str) -> Iterator[Checkpoint]:
    """Complete checkpoints below `uri` without a record in the suite, in order of name. Logs why it skips the others.

    An adapter that names no base model gets the suite's.
    """
    yield from _iter_unrecorded(Survey(root, suite_name, uri), root, suite_name, Pass())


def _iter_unrecorded(
    survey: Survey, root: str, suite_name: str, result: Pass, after: str | None = None
) -> Generator[Checkpoint]:
    name = retries.resolve_suite_name(suite_name)
    recorded = {entry.checkpoint_folder for entry in index.list_entries(uris.make_absolute(root), name)}
    for finding in survey.findings():
        checkpoint = finding.checkpoint
        if after and natural_key(finding.name) <= natural_key(after):
            continue  # the pass before handled it
        if checkpoint is None:
            result.passed_over[finding.name] = str(finding.refusal)
            print(f"passed over: {finding.refusal}")
        elif checkpoint.folder in recorded:
            result.recorded += 1
            if result.recorded <= MAX_NAMED:
                print(f"has a record: {checkpoint.name} ({checkpoint.folder})")
        else:
            yield checkpoint


def build_requests(
    checkpoints: Iterable[Checkpoint],
    suite_name: str,
    count_runs: RunCount,
    retry_failed: bool,
    today: date,
    why_ended: FindFailure = lambda checkpoint: None,
    by_a_person: bool = False,
) -> list[dict[str, Any]]:
    """The run id and conf of each `validate_checkpoint` run to trigger, one per checkpoint, at most `MAX_REQUESTS`.

    Each conf names the next checkpoint. Run ids come from the checkpoint's content, so two requests make one run. A run
    that ended without a record is requested again: if `retry_failed`, at night and by a person, else by the hour and
    only after a retryable error (`retries.py`). `count_runs(run_ids, states)` returns how many of these runs exist.
    """
    requests: dict[str, dict[str, Any]] = {}
    last: dict[str, Any] | None = None
    name = slug(retries.resolve_suite_name(suite_name))
    for checkpoint in checkpoints:
        run_id = f"router__{name}__{checkpoint.folder}"
        if count_runs([run_id, *retries.list_retry_ids(run_id, today)], ACTIVE):
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
            retry = _choose_retry_id(run_id, failure, count_runs, retry_failed, by_a_person, today)
            if retry is None:
                continue
            run_id = retry
        if run_id in requests:
            print(f"the same as another of this pass: {checkpoint.name} ({run_id})")
            continue
        print(f"to validate: {checkpoint.name} ({run_id})")
        if last:
            last["conf"]["following"] = checkpoint.uri
        last = {"trigger_run_id": run_id, "conf": {"checkpoint": checkpoint.uri, "suite": suite_name}}
        requests[run_id] = last
        if len(requests) >= MAX_REQUESTS:
            break
    return list(requests.values())


def _choose_retry_id(
    run_id: str, failure: Failure | None, count_runs: RunCount, retry_failed: bool, by_a_person: bool, today: date
) -> str | None:
    """The run id of the retry. None if it is too early for one."""
    by_night, by_hour = retries.build_nightly_retry_id(run_id, today), retries.list_retry_ids(run_id, today)[0]
    if retry_failed:
        if not count_runs([by_night], None):
            return by_night
        if by_a_person and not count_runs([by_hour], None):
            return by_hour
        print(f"failed today: {run_id}; clear it, or wait for the next night")
    elif hours := retries.count_hours_until_retry(run_id, failure, count_runs, today):
        print(f"failed before: {run_id}; asked for again after {hours} h at the earliest, and by the nightly pass")
    else:
        return by_hour
    return None


def _describe(failure: Failure) -> str:
    return printable(f"{failure.stage}: {failure.message}")


def list_whole(uri: str, known: dict[str, str], odd: OddFolders | None = None) -> dict[str, str]:
    """The digest of each complete checkpoint below `uri`, by name. Opens none whose digest is in `known` or in `odd`.

    Raises InputError or RetryableError if the store cannot be read.
    """
    odd = odd if odd is not None else OddFolders()
    digests, listings = {}, list_checkpoints(uri)
    odd.keep_only(set(listings))
    for name, listing in listings.items():
        if known.get(name) == listing.digest:
            digests[name] = listing.digest
        elif not odd.must_skip(name, listing.digest):
            try:
                check_name(name, "checkpoint")
                if listing.error:
                    raise listing.error
                require_complete(f"{uri}/{name}")
            except Exception as error:  # a fault of this folder stops no other
                raise_outage(error, uri)
                odd.add(name, listing.digest, error, f"{uri}/{name}")
            else:
                digests[name] = listing.digest
    return digests
