"""Publish a run: gather what its stages left into the one record that every index and page is made from.

    python -m ray_jobs.publish --spec URI

Light enough for the Airflow worker: it reads small JSON only.
"""

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime

from ray_jobs.contract.artifacts import Manifest, Record, Scores, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files, records
from ray_jobs.storage.specs import load_spec


def publish(spec: Spec) -> Record:
    """Write `record.json` and its index entry; a run published before keeps its record, which is returned, unless that
    is INCOMPLETE or the spec is of a forced request.

    Raises InputError when a stage has not committed, or when the sums of the stages contradict each other.
    """
    while True:
        gathered = _build_record(spec)
        published = records.publish(spec.root, gathered, replace=spec.force is not None)
        with suppress(InputError):  # forced meanwhile: who forced it publishes it
            if _load_verdict(spec).model_dump_json() != gathered.verdict.model_dump_json():
                continue  # else what was read before could stand over what another published
        return published


def _build_record(spec: Spec) -> Record:
    golden = _read(Manifest, f"{spec.golden_uri}/manifest.json")
    verdict = _load_verdict(spec)  # first: it says whose scores these are
    scores = _read(Scores, f"{records.results_uri(spec.run_uri, verdict)}/scores.json")
    captions = scores.captions or _read(Manifest, f"{spec.captions_uri}/manifest.json")
    if captions.rows_in != golden.rows_out or scores.manifest.rows_in != captions.rows_in:
        raise InputError(
            f"run {spec.run_uri}: golden set {golden.rows_out}, captions {captions.rows_in} -> {captions.rows_out}, "
            f"scores {scores.manifest.rows_in}: the stages do not add up; validate again with force"
        )
    return Record(
        run_id=spec.run_id,
        run_uri=spec.run_uri,
        scale_id=spec.scale_id,
        series_id=spec.series_id,
        golden_id=spec.golden_id,
        caption_id=spec.caption_id,
        suite=spec.suite.name,
        checkpoint=spec.checkpoint.model_copy(update={"files": ()}),
        verdict=verdict,
        metrics=scores.metrics,
        images={
            "read": golden.rows_in,
            "rejected": sum(golden.lost.values()),
            "captioned": captions.rows_out,
            "failed": sum(captions.lost.values()),
            "scored": scores.manifest.rows_out,
        },
        seconds={"preprocess": golden.seconds, "caption": captions.seconds, "evaluate": scores.manifest.seconds},
        versions=captions.versions,
        published_at=datetime.now(UTC),
    )


def _load_verdict(spec: Spec) -> Verdict:
    return _read(Verdict, f"{spec.run_uri}/verdict.json")


def _read(model: type[json_files.Model], uri: str) -> json_files.Model:
    try:
        return json_files.load(model, uri)
    except FileNotFoundError:
        raise InputError(f"{uri}: missing, so its stage is not complete; run the stage again") from None
    except ValueError as error:
        what = type(error).__name__  # its text has many lines
        raise InputError(f"{uri}: not of this version ({what}); run its stage again with force") from None


def main(spec_uri: str, as_json: bool = False) -> int:
    """Publish the run of the spec at the URI and print its verdict; 0. Raises what `publish` raises."""
    record = publish(load_spec(spec_uri))
    print(json.dumps(summary_of(record), indent=1) if as_json else verdict_line(record))
    return 0


def verdict_line(record: Record) -> str:
    """Whose verdict, the verdict, and why, on one line."""
    return f"{record.checkpoint.name}: {record.verdict.outcome}: {record.verdict.reason}"


def summary_of(record: Record) -> dict[str, str | None]:
    """What a program wants to know of a published run: its verdict, and where its files are."""
    verdict = record.verdict
    return {
        "checkpoint": record.checkpoint.uri,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "baseline": verdict.baseline.run_uri if verdict.baseline else None,
        "run_uri": record.run_uri,
        "record_uri": f"{record.run_uri}/record.json",
        "report_uri": f"{records.results_uri(record.run_uri, verdict)}/report.html",
    }


if __name__ == "__main__":
    from ray_jobs.command_line.programs import run_program

    sys.exit(run_program("publish"))
