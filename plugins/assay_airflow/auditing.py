"""Which captions are to be audited: of each suite the newest of the last day that a swapped engine made.

One a night and suite, for each costs the start of an engine. Which ones were audited, their captions' folders tell.
"""

from datetime import datetime, timedelta

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import audits, index, json_files, objects, records, specs
from ray_jobs.storage.odd_items import raise_outage, refusal
from ray_jobs.storage.specs import load_spec

DAY = timedelta(hours=24)
LARGEST = 64 << 20  # bytes of a manifest: one of 1.28 million captions has less than one
TIME = "%Y%m%dT%H%M%S.%fZ"  # as in an entry's key


def due(root: str, suite: str | None, now: datetime) -> list[str]:
    """The specs of the runs to audit, one a suite at most; the others are accounted for."""
    since = (now - DAY).strftime(TIME)
    found = []
    for name in _suites(root, suite):
        recent = (entry for entry in reversed(_published(root, name)) if entry.published_at > since)
        waiting = (spec for entry in recent if (spec := _spec(entry.run_uri(root))) and _is_due(spec))
        if spec := next(waiting, None):
            print(f"to audit: {spec.checkpoint.name}, suite {name} ({spec.captions_uri})")
            found.append(spec.uri)
    return found


def of(root: str, checkpoint: str, suite: str | None) -> list[str]:
    """The specs of the newest run in each suite of a checkpoint, named by its URI or by that of a run.

    Whatever made its captions. Raises InputError when there is none.
    """
    uri = objects.absolute(checkpoint)
    found = []
    for name in _suites(root, suite):
        lines = reversed(index.whole(root, name).records.values())
        specs = (_spec(line.run_uri) for line in lines if uri in (line.run_uri, line.checkpoint.uri))
        if spec := next(filter(None, specs), None):
            found.append(spec.uri)
    if not found:
        raise InputError(f"checkpoint {checkpoint}: no run of it in suite {suite or 'any'}; validate it first")
    return found


def _suites(root: str, suite: str | None) -> list[str]:
    return [suite] if suite else objects.folders(f"{root}/index")


def _published(root: str, suite: str) -> list[index.Published]:
    """The suite's entries; none, and a line, for a folder that cannot be listed."""
    try:
        return records.published(root, suite)
    except Exception as error:
        raise_outage(error, f"{root}/index")
        print(f"passed over: {refusal(f'suite {suite}', error)}")
        return []


def _spec(run_uri: str) -> Spec | None:
    """The first spec of the run that this version can read, if any."""
    root = run_uri.rsplit("/runs/", 1)[0]
    try:
        uris = specs.list_specs(run_uri)
    except Exception as error:
        raise_outage(error, f"{root}/runs")
        print(f"passed over: {refusal(f'run {run_uri}', error)}")
        return None
    for uri in uris:
        try:
            return load_spec(uri)
        except Exception as error:  # this spec's own
            raise_outage(error, f"{root}/runs")
            print(f"passed over: {refusal(f'spec {uri}', error)}")
    return None


def _is_due(spec: Spec) -> bool:
    """Whether the captions are to be audited; what is odd about this run is said, and is no other run's."""
    try:
        return _needs_audit(spec)
    except Exception as error:
        raise_outage(error, f"{spec.root}/runs")
        print(f"passed over: {refusal(f'run {spec.run_uri}', error)}")
        return False


def _needs_audit(spec: Spec) -> bool:
    name = f"{spec.checkpoint.name} ({spec.captions_uri})"
    try:
        captions = json_files.load(Manifest, f"{spec.captions_uri}/manifest.json")
    except (FileNotFoundError, ValueError):
        print(f"passed over: {name}: its captions are not complete")
        return False
    if objects.exists(audits.uri_of(spec.captions_uri)):
        print(f"has an audit: {name}")
    elif why := audits.impossible(spec):
        print(f"not audited: {name}: {why}")
    elif not captions.swapped:
        print(f"needs no audit: {name}: engines that were started for it made its captions")
    else:
        return True
    return False
