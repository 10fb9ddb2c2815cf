"""Publishes the runs of a series, one checkpoint a minute from noon."""

from datetime import UTC, datetime, timedelta

from samples import make_record, make_spec

from ray_jobs.contract.spec import Baseline, Spec
from ray_jobs.storage import baselines, objects, records

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def publish_run(
    root: str, number: int, outcome: str, baseline_setting: str = "last-accepted", anchor: str | None = None
) -> Spec:
    """Plan, record and publish a run as `plan` and `publish` do. Returns its spec."""
    settings = {"gate__baseline": baseline_setting, "gate__anchor": anchor}
    spec = make_spec(root=root, fingerprint=f"{number}" * 16, called=f"step-{number}", **settings)
    spec = spec.model_copy(update={"baseline": baselines.find_baseline(spec, baseline_setting)})
    spec = spec.model_copy(update={"anchor": baselines.find_anchor(spec, anchor)})
    objects.write(spec.uri, spec.model_dump_json().encode())
    records.publish(root, make_record(spec, outcome, NOON + timedelta(minutes=number)))
    return spec


def name_of(baseline: Baseline | None) -> str | None:
    return baseline.checkpoint.name if baseline else None
