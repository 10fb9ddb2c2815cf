"""Select the captions to audit: per suite, the newest of the last day that an engine made after a weight swap.

The task `choose` of `audit_engine` calls this. It selects one run per night and suite, because each audit starts an
engine. An audit lies in the folder of its captions, so no other state says what was audited.
"""

from datetime import datetime, timedelta

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import audits, index, manifests, object_listing, objects, specs, uris
from ray_jobs.storage.odd_items import raise_outage, refusal
from ray_jobs.storage.specs import load_spec

DAY = timedelta(hours=24)
TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"  # as in an entry's key


def select_due(root: str, suite: str | None, now: datetime) -> list[str]:
    """URIs of the specs to audit, at most one per suite. The log says why the other runs need no audit."""
    since = (now - DAY).strftime(TIME_FORMAT)
    spec_uris = []
    for name in _list_suites(root, suite):
        recent = (entry for entry in reversed(_list_entries(root, name)) if entry.published_at > since)
        candidates = (spec for entry in recent if (spec := _load_readable_spec(entry.run_uri(root))) and _is_due(spec))
        if spec := next(candidates, None):
            print(f"to audit: {spec.checkpoint.name}, suite {name} ({spec.captions_uri})")
            spec_uris.append(spec.uri)
    return spec_uris


def select_for_checkpoint(root: str, checkpoint: str, suite: str | None) -> list[str]:
    """URIs of the specs of a checkpoint's newest run in each suite. `checkpoint` is its URI or that of a run.

    Any engine may have made the captions. Raises InputError if the checkpoint has no run.
    """
    uri = uris.make_absolute(checkpoint)
    spec_uris = []
    for name in _list_suites(root, suite):
        lines = reversed(index.load_complete(root, name).records.values())
        specs = (_load_readable_spec(line.run_uri) for line in lines if uri in (line.run_uri, line.checkpoint.uri))
        if spec := next(filter(None, specs), None):
            spec_uris.append(spec.uri)
    if not spec_uris:
        raise InputError(f"checkpoint {checkpoint}: no run of it in suite {suite or 'any'}; validate it first")
    return spec_uris


def _list_suites(root: str, suite: str | None) -> list[str]:
    return [suite] if suite else object_listing.list_subfolders(f"{root}/index")


def _list_entries(root: str, suite: str) -> list[index.IndexEntry]:
    """The suite's entries. If its folder cannot be listed, prints why and returns none."""
    try:
        return index.list_entries(root, suite)
    except Exception as error:
        raise_outage(error, f"{root}/index")
        print(f"passed over: {refusal(f'suite {suite}', error)}")
        return []


def _load_readable_spec(run_uri: str) -> Spec | None:
    """The run's first spec that this version of Assay can read, or None."""
    root = run_uri.rsplit("/runs/", 1)[0]
    try:
        spec_uris = specs.list_specs(run_uri)
    except Exception as error:
        raise_outage(error, f"{root}/runs")
        print(f"passed over: {refusal(f'run {run_uri}', error)}")
        return None
    for uri in spec_uris:
        try:
            return load_spec(uri)
        except Exception as error:  # a fault of this spec ends nothing else
            raise_outage(error, f"{root}/runs")
            print(f"passed over: {refusal(f'spec {uri}', error)}")
    return None


def _is_due(spec: Spec) -> bool:
    """Whether the captions need an audit. A fault of this run is printed and does not affect other runs."""
    try:
        return _needs_audit(spec)
    except Exception as error:
        raise_outage(error, f"{spec.root}/runs")
        print(f"passed over: {refusal(f'run {spec.run_uri}', error)}")
        return False


def _needs_audit(spec: Spec) -> bool:
    name = f"{spec.checkpoint.name} ({spec.captions_uri})"
    captions = manifests.load_manifest(spec.captions_uri)
    if captions is None:
        print(f"passed over: {name}: its captions are not complete")
        return False
    if objects.exists(audits.uri_of(spec.captions_uri)):
        print(f"has an audit: {name}")
    elif why := audits.why_impossible(spec):
        print(f"not audited: {name}: {why}")
    elif not captions.weights_swapped:
        print(f"needs no audit: {name}: engines that were started for it made its captions")
    else:
        return True
    return False
