"""Find the folder of a run's results, and make the results of a forced request current.

The driver of `evaluate` calls this. A run's scores.json, report and preferences are in the run's folder, or in the
folder that verdict.json names. Invariant: the driver writes verdict.json last and replaces it as a whole. So the
results that verdict.json names are complete and belong to one request, even if a driver is killed.
"""

from collections.abc import Iterator
from contextlib import suppress

from ray_jobs.contract.artifacts import Verdict
from ray_jobs.contract.ids import request_folder
from ray_jobs.contract.spec import Spec
from ray_jobs.metrics.score_folders import number_folders
from ray_jobs.report import links
from ray_jobs.storage import json_files, object_listing, objects


def find_folder(spec: Spec, captions_digest: str) -> str:
    """The folder below the run to write results to; "" for the run's own folder.

    `captions_digest` covers all captions that are compared. It is in the name because preferences depend on them.
    """
    if not spec.force and _claim_own_folder(spec, captions_digest):
        return ""
    parent = request_folder(spec.force) if spec.force else "of"
    for folder in number_folders(f"{parent}/{captions_digest}"):
        verdict = _read_verdict(f"{spec.run_uri}/{folder}")
        # An INCOMPLETE run needs a new folder, because each attempt asks the judge again.
        if verdict is None or verdict.outcome != "INCOMPLETE":
            break
    return folder


def make_current(spec: Spec, verdict: Verdict) -> None:
    """Make complete results in their own folder the run's current results, unless later results are current.

    Copies the report into the run's folder for people who open that folder. The copy's links start from there. Records
    and log lines name the original.
    Raises NewerSchema when a newer Assay wrote the current verdict.
    """
    json_files.replace(f"{spec.request_uri}/verdict.json", verdict)
    while True:
        current = _read_verdict(spec.run_uri)
        latest = max([verdict, *_list_forced_verdicts(spec.run_uri)], key=_decision_time)
        if current and _decision_time(current) >= _decision_time(latest):
            break
        json_files.replace(f"{spec.run_uri}/verdict.json", latest)
    page = objects.read(f"{spec.run_uri}/{current.folder}/report.html")
    depths = (links.measure_depth(spec.root, uri) for uri in (f"{spec.run_uri}/{current.folder}", spec.run_uri))
    objects.write(f"{spec.run_uri}/report.html", links.move_links(page, *depths))


def _claim_own_folder(spec: Spec, captions_digest: str) -> bool:
    """True if the run's own folder belongs to these captions. The file `captions` there holds their digest."""
    uri = f"{spec.run_uri}/captions"
    return objects.create(uri, captions_digest.encode()) or objects.read(uri, at_most=100) == captions_digest.encode()


def _decision_time(verdict: Verdict) -> float:
    return verdict.decided_at.timestamp() if verdict.decided_at else 0.0


def _list_forced_verdicts(run_uri: str) -> Iterator[Verdict]:
    for entry in list(object_listing.iterate_entries(f"{run_uri}/forced")):
        request, _, name = entry.key.partition("/")
        if name == "verdict.json" and (verdict := _read_verdict(f"{run_uri}/forced/{request}")):
            yield verdict


def _read_verdict(folder: str) -> Verdict | None:
    with suppress(FileNotFoundError, ValueError):
        return json_files.load(Verdict, f"{folder}/verdict.json")
    return None
