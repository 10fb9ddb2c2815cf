"""Which captions are to be audited: of each suite the newest of the last day that a swapped engine made.

One a night and suite, for each costs the start of an engine. Which ones were audited, their captions' folders tell.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from ray_jobs import audits, index, records, storage
from ray_jobs.contract import BadInput, Manifest, Spec
from ray_jobs.plan import load_spec

DAY = timedelta(hours=24)
TIME = "%Y%m%dT%H%M%S.%fZ"  # as in an entry's key


def due(root: str, suite: str | None, now: datetime) -> list[str]:
    """The specs of the runs to audit, one a suite at most; the others are accounted for."""
    since = (now - DAY).strftime(TIME)
    found = []
    for name in _suites(root, suite):
        listed = (
            entry.run_uri(root) for entry in reversed(records.published(root, name)) if entry.published_at > since
        )
        waiting = (spec for run_uri in listed for spec in _specs(run_uri) if _is_due(spec))
        if spec := next(waiting, None):
            print(f"to audit: {spec.checkpoint.name}, suite {name} ({spec.captions_uri})")
            found.append(spec.uri)
    return found


def of(root: str, checkpoint: str, suite: str | None) -> list[str]:
    """The specs of the newest run in each suite of a checkpoint, named by its URI or by that of a run.

    Whatever made its captions. Raises BadInput when there is none.
    """
    uri = storage.absolute(checkpoint)
    found = []
    for name in _suites(root, suite):
        lines = index.whole(root, name).records.values()
        named = [line.run_uri for line in lines if uri in (line.run_uri, line.checkpoint.uri)]
        found += [spec.uri for spec in _specs(named[-1])] if named else []
    if not found:
        raise BadInput(f"checkpoint {checkpoint}: no run of it in suite {suite or 'any'}; validate it first")
    return found


def _suites(root: str, suite: str | None) -> list[str]:
    return [suite] if suite else storage.folders(f"{root}/index")


def _specs(run_uri: str) -> Iterator[Spec]:
    """A spec of the run, if any of this version is there: its own before those of forced requests."""
    for entry in sorted(storage.entries(run_uri), key=lambda entry: (entry.key != "spec.json", entry.key)):
        if entry.key.startswith("spec") and entry.key.endswith(".json"):
            try:
                yield load_spec(f"{run_uri}/{entry.key}")
                return
            except BadInput as reason:
                print(f"passed over: {reason}")


def _is_due(spec: Spec) -> bool:
    name = f"{spec.checkpoint.name} ({spec.captions_uri})"
    try:
        captions = Manifest.model_validate_json(storage.read(f"{spec.captions_uri}/manifest.json"))
    except (FileNotFoundError, ValueError):
        print(f"passed over: {name}: its captions are not complete")
        return False
    if storage.exists(audits.uri_of(spec.captions_uri)):
        print(f"has an audit: {name}")
    elif why := audits.impossible(spec):
        print(f"not audited: {name}: {why}")
    elif not captions.swapped:
        print(f"needs no audit: {name}: engines that were started for it made its captions")
    else:
        return True
    return False
