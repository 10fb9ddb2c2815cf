"""Makes the rows of the page of checkpoints from records."""

import re
from typing import Any

from assay_airflow.ui.queries.origins import format_time
from assay_airflow.ui.queries.run_names import run_of_uri
from ray_jobs.contract.artifacts import Comparison, Record

STEP = re.compile(r"(\d{1,15})(?!.*\d)", re.ASCII)


def summarise_record(record: Record) -> dict[str, Any]:
    """Returns the row of a run, without what Airflow's database and people's decisions say."""
    run, verdict = run_of_uri(record.run_uri), record.verdict
    images = record.images
    golden = images.get("read", 0) - images.get("rejected", 0)
    step = STEP.search(record.checkpoint.name)
    return {
        "run": str(run),
        "suite": record.suite,
        "series": record.series_id,
        "checkpoint": record.checkpoint.name,
        "step": int(step[1]) if step else None,
        "training_run": record.checkpoint.uri.rstrip("/").rpartition("/")[0].rpartition("/")[2] or None,
        "created": format_time(record.published_at),
        "verdict": verdict.outcome,
        "reason": verdict.reason,
        "baseline_run": _format_run(verdict.baseline.run_uri) if verdict.baseline else None,
        "captions": images.get("captioned"),
        "coverage": images.get("scored", 0) / golden if golden > 0 else None,
        "report": True,
        "metrics": describe_metrics(record),
        "about": list_metrics(record),
    }


def describe_metrics(record: Record) -> dict[str, dict[str, Any]]:
    """Returns each metric's value with its interval, and its difference from the baseline."""
    against = {line.metric: line for line in record.verdict.comparisons if line.against == "baseline"}
    return {
        name: {
            "value": summary.mean,
            "low": summary.low,
            "high": summary.high,
            "n": summary.n,
            "difference": _describe_difference(against.get(name)),
            "outcome": describe_outcome(against.get(name)),
        }
        for name, summary in record.metrics.items()
    }


def _describe_difference(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None or comparison.difference is None:
        return None
    return {"value": comparison.difference, "low": comparison.low, "high": comparison.high}


def describe_outcome(comparison: Comparison | None) -> str | None:
    """Returns worse, better, same or unclear; None without a comparison. A positive difference is better."""
    if comparison is None or comparison.difference is None:
        return None
    if comparison.outcome == "FAIL" or (comparison.high is not None and comparison.high < 0):
        return "worse"
    if comparison.low is not None and comparison.low > 0:
        return "better"
    return "same" if comparison.outcome == "PASS" else "unclear"


def list_metrics(record: Record) -> list[dict[str, Any]]:
    """Returns the name, label, unit and direction of each metric, and whether it gates: those that gate come first."""
    verdict = record.verdict
    margins = {line.metric: line.margin for line in verdict.comparisons if not line.advisory}
    limits = {check.metric for check in verdict.limits}
    metrics = [
        {
            "name": name,
            "label": name.replace("_", " "),
            "unit": summary.unit or None,
            "higher_is_better": {1: True, -1: False}.get(summary.direction),
            "gating": name in margins or name in limits,
            "margin": margins.get(name),
        }
        for name, summary in record.metrics.items()
    ]
    return sorted(metrics, key=lambda metric: (_rank_metric(metric, margins), not metric["gating"]))


def _rank_metric(metric: dict[str, Any], margins: dict[str, float]) -> int:
    """Returns the place of a metric among those that the gate compares, a high number for the others."""
    return list(margins).index(metric["name"]) if metric["name"] in margins else len(margins)


def merge_metrics(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the metrics of all rows, as the newest run with each describes it. One gates if it does in any row."""
    merged: dict[str, dict[str, Any]] = {}
    for row in reversed(rows):
        for metric in row["about"]:
            known = merged.setdefault(metric["name"], dict(metric))
            if metric["gating"] and not known["gating"]:
                known.update(gating=True)
            if known["margin"] is None:
                known["margin"] = metric["margin"]
    return sorted(merged.values(), key=lambda metric: (metric["margin"] is None, not metric["gating"]))


def _format_run(uri: str) -> str | None:
    run = run_of_uri(uri)
    return str(run) if run else None
