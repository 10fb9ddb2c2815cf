"""Collects what the page of one run shows: what the verdict rests on, the funnel of images, times, the engine."""

from typing import Any

from assay_airflow.ui.queries.run_names import read_root
from ray_jobs.contract.artifacts import Manifest, Record, Scores
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files, manifests, records

Reasons = dict[str, int] | None


def load_scores(record: Record, run_uri: str) -> Scores:
    """Returns the scores that the verdict rests on. Raises InputError when they are missing or damaged."""
    uri = f"{records.results_uri(run_uri, record.verdict)}/scores.json"
    try:
        return json_files.load(Scores, uri)
    except FileNotFoundError:
        raise InputError(f"{uri}: missing; evaluate and publish the run again") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{uri}: not readable ({type(error).__name__}); evaluate the run again") from None


def describe_run(record: Record, run_uri: str) -> tuple[dict[str, Any], list[str]]:
    """Returns `rests_on`, `funnel`, `phases` and `engine`, and one line for each file that cannot be read."""
    problems: list[str] = []
    scores = golden = None
    try:
        scores = load_scores(record, run_uri)
    except InputError as error:
        problems.append(str(error))
    try:
        golden = manifests.load_manifest(f"{read_root()}/golden/{record.golden_id}")
    except InputError as error:
        problems.append(str(error))
    facts = {
        "rests_on": _describe_basis(record),
        "funnel": _list_funnel(record, golden, scores),
        "phases": _list_phases(record),
        "engine": _describe_engine(record, scores),
    }
    return facts, problems


def _describe_basis(record: Record) -> dict[str, Any]:
    verdict, images = record.verdict, record.images
    deciding = [line for line in verdict.comparisons if not line.advisory]
    golden = images.get("read", 0) - images.get("rejected", 0)
    return {
        "baseline": verdict.baseline.checkpoint.name if verdict.baseline else None,
        "anchor": verdict.anchor.checkpoint.name if verdict.anchor else None,
        "images compared": max((line.n for line in deciding), default=None),
        "images scored": f"{images.get('scored', 0)} of {golden}",
        "false alarms": verdict.alpha,
        "comparisons that decide": [f"{line.metric}: {line.outcome}" for line in deciding],
        "limits": [f"{check.metric} {check.kind} {check.limit}: {check.outcome}" for check in verdict.limits],
        "golden set": record.golden_id,
        "captions": record.caption_id,
        "checkpoint": record.checkpoint.uri,
        "fingerprint": record.checkpoint.fingerprint,
    }


def _list_funnel(record: Record, golden: Manifest | None, scores: Scores | None) -> list[dict[str, Any]]:
    images = record.images
    captions = scores.captions if scores else None

    def describe_step(label: str, count: int | None, reasons: Reasons) -> dict[str, Any]:
        return {"label": label, "count": count, "reasons": reasons or {}}

    return [
        describe_step("read", images.get("read"), None),
        describe_step(
            "golden", images.get("read", 0) - images.get("rejected", 0), dict(golden.lost) if golden else None
        ),
        describe_step("captioned", images.get("captioned"), dict(captions.lost) if captions else None),
        describe_step("scored", images.get("scored"), dict(scores.failed) if scores else None),
    ]


def _list_phases(record: Record) -> list[dict[str, Any]]:
    return [
        {"name": f"{stage}: {step.replace('_', ' ')}", "started": None, "seconds": seconds}
        for stage, steps in record.seconds.items()
        for step, seconds in steps.items()
    ]


def _describe_engine(record: Record, scores: Scores | None) -> dict[str, Any]:
    details = scores.captions.details if scores and scores.captions else {}
    engine = details.get("engine")
    speed = details.get("per_second")
    return {
        **(engine if isinstance(engine, dict) else {}),
        **({f"{name} per second": value for name, value in speed.items()} if isinstance(speed, dict) else {}),
        **record.versions,
    }
