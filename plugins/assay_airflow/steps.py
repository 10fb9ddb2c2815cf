"""What the DAGs' own tasks do: plan a run, publish its record, answer for its verdict, find what is to be validated or
audited."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout

from assay_airflow import ahead, auditing, router
from assay_airflow.retries import RunCount
from assay_airflow.run_conf import check_params
from ray_jobs import plan as planning
from ray_jobs import publish as publishing
from ray_jobs.checkpoints.inspect import Incomplete
from ray_jobs.contract.artifacts import Comparison, LimitCheck, Record, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import find_fault, printable
from ray_jobs.planning import suites
from ray_jobs.storage import objects, records, specs

# Why the router's DAG runs, by the type of its run; whoever starts it by hand asks for what failed as well.
OCCASIONS: dict[str, router.Occasion] = {
    "asset_triggered": "arrival",
    "scheduled": "night",
}


def find_occasion(run_type: str, handed_on: str | None) -> router.Occasion:
    """Why this pass is made. The rest of a pass that was cut is made for what that pass was made for: `handed_on`.

    Only a run that another DAG triggers can be the rest of a pass; a word that is none of ours counts as an arrival.
    """
    if run_type == "operator_triggered":
        return next((word for word in get_args(router.Occasion) if word == handed_on), "arrival")
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
    """Resolve the run's params into a spec and return the spec's URI. Raises InputError for a param that there is
    not."""
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
    except Incomplete as missing:  # it was whole a moment ago: somebody is writing to it
        raise RetryableError(str(missing)) from None
    print(f"checkpoint {spec.checkpoint.name}, fingerprint {spec.checkpoint.fingerprint}")
    if spec.checkpoint.base:
        print(f"base model {spec.checkpoint.base.uri}, fingerprint {spec.checkpoint.base.fingerprint}")
    print(f"baseline {spec.baseline.checkpoint.name if spec.baseline else 'none'}")
    print(f"golden set {spec.golden_uri}\ncaptions {spec.captions_uri}\nrun {spec.run_uri}")
    return spec.uri


def plan_following(params: dict[str, Any]) -> str | None:
    """The URI of a spec for the checkpoint that follows, None when it is not to be captioned while this run goes on.

    Raises nothing: this run does not need it, and one line says why there is none.
    """
    try:
        spec, why = _following(params)
    except (Exception, AirflowTaskTimeout) as error:
        spec, why = None, str(error).partition("\n")[0] or type(error).__name__
    if spec is None or why:
        print(f"nothing is captioned ahead: {why}")
        return None
    print(f"captioned ahead: {spec.checkpoint.name}, fingerprint {spec.checkpoint.fingerprint}")
    return spec.uri


def _following(params: dict[str, Any]) -> tuple[Spec | None, str | None]:
    """The spec of the checkpoint that follows, or why there is none: asked before anything of it is read."""
    if not params["following"]:
        return None, "no checkpoint follows"
    if params["force"]:
        return None, "this run is forced"
    if why := ahead.refusal(suites.load_suite(params["suite"])):
        return None, why
    spec = planning.plan(storage_root(), params["suite"], params["following"])
    return spec, ahead.quantised(spec)


def publish(spec_uri: str) -> dict[str, Any]:
    """Publish the run's record; returns what the asset event tells of it."""
    record = publishing.publish(specs.load_spec(spec_uri))
    summary = summary_of(record)
    print(f"{summary['checkpoint']}: {summary['outcome']}: {summary['reason']}")
    return summary


def summary_of(record: Record) -> dict[str, Any]:
    """Checkpoint, outcome and the means of the metrics, small enough for an event."""
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


def conclude(spec_uri: str) -> str:
    """The verdict as a task state: PASS succeeds, FAIL and INCOMPLETE fail for good, INCONCLUSIVE is skipped."""
    record = records.read(specs.load_spec(spec_uri).run_uri)
    verdict = record.verdict
    line = f"{verdict.outcome}: {verdict.reason}"
    print("\n".join([line, *map(_compared, _deciding(verdict)), *map(_limited, verdict.limits)]))
    print(f"  report: {records.results_uri(record.run_uri, verdict)}/report.html")
    if verdict.outcome == "INCONCLUSIVE":
        raise AirflowSkipException(line)
    if verdict.outcome != "PASS":
        raise AirflowFailException(line)
    return line


def _deciding(verdict: Verdict) -> list[Comparison]:
    return [one for one in verdict.comparisons if not one.advisory]


def _compared(one: Comparison) -> str:
    return (
        f"  {one.metric} against the {one.against}: {one.outcome}, {one.against} {one.baseline}, candidate "
        f"{one.candidate}, difference {one.difference} [{one.low}, {one.high}], margin {one.margin}, n {one.n}"
    )


def _limited(one: LimitCheck) -> str:
    word = "at most" if one.kind == "max" else "at least"
    return f"  {one.metric} {word} {one.limit}: {one.outcome}, {one.value} [{one.low}, {one.high}], n {one.n}"


def reconcile(
    run_type: str,
    count_runs: RunCount,
    folder: str | None = None,
    suite: str | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda summary: None,
    occasion: str | None = None,
    after: str | None = None,
) -> list[dict[str, Any]]:
    """What the router is to trigger now, of the watched folder or the one that a person named.

    `tell` is given a summary of the pass. The rest of a pass that was cut is told that one's `occasion` and `after`
    which checkpoint it was cut. Raises InputError for an empty folder, and for a suite that is not there.
    """
    uri = objects.absolute(folder.rstrip("/")) if folder else router.prefix()
    if uri is None:
        raise AirflowSkipException("ASSAY_CHECKPOINTS is not set: there is no folder of checkpoints to look into")
    if folder and not router.names(uri):
        raise InputError(f"training run {uri}: no folder is in it; check the URI")
    root, suite = storage_root(), suite or router.suite()
    suites.load_suite(suite)  # refuses what is no suite here, rather than in each validation
    why = find_occasion(run_type, occasion)
    result = router.make_pass(root, suite, uri, count_runs, why, datetime.now(UTC), after)
    tell(result.summary())
    return result.requests


def to_audit(checkpoint: str | None = None, suite: str | None = None) -> list[str]:
    """Specs whose captions are to be audited now: of the last day, or of the checkpoint that a person named.

    Raises InputError for a checkpoint that was not validated, and for a suite that has no record and is not there.
    """
    root = objects.absolute(storage_root())
    if suite and (fault := find_fault(suite)):
        raise InputError(f"suite {printable(suite, 60)!r}: its name {fault}; give the name that the suite has")
    if suite and not checkpoint and suite not in objects.folders(f"{root}/index"):
        suites.load_suite(suite)
    found = auditing.of(root, checkpoint, suite) if checkpoint else auditing.due(root, suite, datetime.now(UTC))
    if not found:
        raise AirflowSkipException(
            "nothing to audit: a warm engine made no captions of the last day that have no audit"
        )
    return found
