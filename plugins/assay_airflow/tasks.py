"""The Python tasks of the DAGs: plan a run, publish its record, select what to validate or audit.

Each task of `dags/` that is no operator calls one function here. It runs in Airflow's worker.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args

from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout

from assay_airflow import audit_selection, caption_ahead, router
from assay_airflow.retries import RunCount
from assay_airflow.run_conf import check_params
from ray_jobs import plan as planning
from ray_jobs import publish as publishing
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import find_name_fault, printable
from ray_jobs.planning import suites
from ray_jobs.storage import object_listing, records, specs, uris

# Why the router's DAG runs, by the type of its run. Any other type is "person", which retries failed runs as well.
OCCASIONS: dict[str, router.Occasion] = {
    "asset_triggered": "arrival",
    "scheduled": "night",
}


def find_occasion(run_type: str, cut_occasion: str | None) -> router.Occasion:
    """Why this pass runs. If it continues a pass that was cut, the occasion is that pass's: `cut_occasion`.

    Only a run that an operator triggered can continue a pass. An unknown word counts as an arrival.
    """
    if run_type == "operator_triggered":
        return next((word for word in get_args(router.Occasion) if word == cut_occasion), "arrival")
    return OCCASIONS.get(run_type, "person")


def storage_root() -> str:
    """ASSAY_ROOT of the process that runs the task. Raises InputError when it is not set."""
    root = os.environ.get("ASSAY_ROOT")
    if not root:
        raise InputError(
            "ASSAY_ROOT is not set where Airflow runs its tasks; set it to s3://bucket/prefix or a directory"
        )
    return root


def plan(params: dict[str, Any], run_id: str) -> str:
    """Resolve the run's params into a spec and return the spec's URI. Raises InputError for an unknown param."""
    check_params(params, "validate_checkpoint")
    force = run_id if params["force"] else None
    try:
        spec = planning.plan(
            storage_root(),
            params["suite"],
            params["checkpoint"],
            params["baseline"],
            force=force,
            next_checkpoint=params["following"],
        )
    except Incomplete as missing:  # the sensor found it complete, so an upload began
        raise RetryableError(str(missing)) from None
    print(f"checkpoint {spec.checkpoint.name}, fingerprint {spec.checkpoint.fingerprint}")
    if spec.checkpoint.base:
        print(f"base model {spec.checkpoint.base.uri}, fingerprint {spec.checkpoint.base.fingerprint}")
    print(f"baseline {spec.baseline.checkpoint.name if spec.baseline else 'none'}")
    print(f"golden set {spec.golden_uri}\ncaptions {spec.captions_uri}\nrun {spec.run_uri}")
    return spec.uri


def plan_next(params: dict[str, Any]) -> str | None:
    """The URI of the next checkpoint's spec. None if it is not to be captioned during this run; the log says why.

    Raises nothing, because this run does not need the next checkpoint.
    """
    try:
        spec, why = _try_plan_next(params)
    except (Exception, AirflowTaskTimeout) as error:
        spec, why = None, str(error).partition("\n")[0] or type(error).__name__
    if spec is None or why:
        print(f"nothing is captioned ahead: {why}")
        return None
    print(f"captioned ahead: {spec.checkpoint.name}, fingerprint {spec.checkpoint.fingerprint}")
    return spec.uri


def _try_plan_next(params: dict[str, Any]) -> tuple[Spec | None, str | None]:
    """The next checkpoint's spec, or why there is none. Reads the checkpoint only if the params and suite allow it."""
    if not params["following"]:
        return None, "no checkpoint follows"
    if params["force"]:
        return None, "this run is forced"
    if why := caption_ahead.find_suite_obstacle(suites.load_suite(params["suite"])):
        return None, why
    spec = planning.plan(storage_root(), params["suite"], params["following"])
    return spec, caption_ahead.find_checkpoint_obstacle(spec)


def publish(spec_uri: str) -> dict[str, Any]:
    """Publish the run's record. Returns the summary for the asset event."""
    record = publishing.publish(specs.load_spec(spec_uri))
    summary = summarise_record(record)
    print(f"{summary['checkpoint']}: {summary['outcome']}: {summary['reason']}")
    return summary


def summarise_record(record: Record) -> dict[str, Any]:
    """Checkpoint, outcome and mean of each metric: small enough for an asset event."""
    return {
        "checkpoint": record.checkpoint.name,
        "checkpoint_uri": record.checkpoint.uri,
        "fingerprint": record.checkpoint.fingerprint,
        "suite": record.suite,
        "outcome": record.verdict.outcome,
        "reason": record.verdict.reason,
        "metrics": {name: summary.mean for name, summary in record.metrics.items()},
        "record": f"{record.run_uri}/record.json",
        "report": f"{records.results_uri(record.run_uri, record.verdict)}/report.html",
    }


def read_record(spec_uri: str) -> Record:
    """The record of the spec's run, which the task `publish` wrote."""
    return records.read(specs.load_spec(spec_uri).run_uri)


def reconcile(
    run_type: str,
    count_runs: RunCount,
    folder: str | None = None,
    suite: str | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda summary: None,
    occasion: str | None = None,
    after: str | None = None,
) -> list[dict[str, Any]]:
    """The runs that the router must trigger now, for the watched folder or the folder that a person named.

    Calls `tell` with a summary of the pass. A pass that continues another gets its `occasion`, and in `after` the last
    checkpoint that it requested. Raises InputError for an empty folder or a suite that does not exist.
    """
    uri = uris.make_absolute(folder.rstrip("/")) if folder else router.read_checkpoints_uri()
    if uri is None:
        raise AirflowSkipException("ASSAY_CHECKPOINTS is not set: there is no folder of checkpoints to look into")
    if folder and not router.list_names(uri):
        raise InputError(f"training run {uri}: no folder is in it; check the URI")
    root, suite = storage_root(), suite or router.read_suite_name()
    suites.load_suite(suite)  # refuse a wrong suite here, not in each validation
    why = find_occasion(run_type, occasion)
    result = router.run_pass(root, suite, uri, count_runs, why, datetime.now(UTC), after)
    tell(result.summary())
    return result.requests


def select_audits(checkpoint: str | None = None, suite: str | None = None) -> list[str]:
    """URIs of the specs whose captions to audit: of the last day, or of the checkpoint that a person named.

    Raises InputError for a checkpoint that was not validated, and for a suite that has no record and does not exist.
    """
    root = uris.make_absolute(storage_root())
    if suite and (fault := find_name_fault(suite)):
        raise InputError(f"suite {printable(suite, 60)!r}: its name {fault}; give the name that the suite has")
    if suite and not checkpoint and suite not in object_listing.list_subfolders(f"{root}/index"):
        suites.load_suite(suite)
    spec_uris = (
        audit_selection.select_for_checkpoint(root, checkpoint, suite)
        if checkpoint
        else audit_selection.select_due(root, suite, datetime.now(UTC))
    )
    if not spec_uris:
        raise AirflowSkipException(
            "nothing to audit: a warm engine made no captions of the last day that have no audit"
        )
    return spec_uris
