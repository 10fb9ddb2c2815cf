"""Publish a run: gather the results of its stages into one record. Every index and page is built from records.

    python -m ray_jobs.publish --spec URI

The Airflow worker runs `publish`, because it reads small JSON files only.
"""

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime

from ray_jobs.contract.artifacts import Manifest, Record, Scores, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files, records
from ray_jobs.storage.manifests import uri_of_manifest
from ray_jobs.storage.specs import load_spec


def publish(spec: Spec) -> Record:
    """Write `record.json` and its index entry. Returns the record that is stored afterwards.

    A published run keeps its record, unless the record is INCOMPLETE or the spec is of a forced request. Raises
    InputError when a stage is not complete, or when the counts of the stages contradict each other.
    """
    while True:
        record = _build_record(spec)
        published = records.publish(spec.root, record, replace=spec.force is not None)
        with suppress(InputError):  # a forced request replaced the verdict; that request publishes it
            if _read(Verdict, f"{spec.run_uri}/verdict.json").model_dump_json() != record.verdict.model_dump_json():
                continue  # otherwise an older verdict could replace a newer verdict of another process
        return published


def _build_record(spec: Spec) -> Record:
    golden = _read(Manifest, uri_of_manifest(spec.golden_uri))
    verdict = _read(Verdict, f"{spec.run_uri}/verdict.json")  # first, because it names the folder of the scores
    scores = _read(Scores, f"{records.results_uri(spec.run_uri, verdict)}/scores.json")
    captions = scores.captions or _read(Manifest, uri_of_manifest(spec.captions_uri))
    if captions.rows_in != golden.rows_out or scores.manifest.rows_in != captions.rows_in:
        raise InputError(
            f"run {spec.run_uri}: golden set {golden.rows_out}, captions {captions.rows_in} -> {captions.rows_out}, "
            f"scores {scores.manifest.rows_in}: the stages do not add up; validate again with force"
        )
    return Record(
        run_id=spec.run_id,
        run_uri=spec.run_uri,
        scoring_id=spec.scoring_id,
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


def _read(model: type[json_files.Model], uri: str) -> json_files.Model:
    try:
        return json_files.load(model, uri)
    except FileNotFoundError:
        raise InputError(f"{uri}: missing, so its stage is not complete; run the stage again") from None
    except ValueError as error:
        kind = type(error).__name__  # the error's text has many lines
        raise InputError(f"{uri}: not of this version ({kind}); run its stage again with force") from None


def main(spec_uri: str, as_json: bool = False) -> int:
    """Publish the run of the spec at the URI and print its verdict. Returns 0. Raises the errors of `publish`."""
    record = publish(load_spec(spec_uri))
    print(json.dumps(summary_of(record), indent=1) if as_json else verdict_line(record))
    return 0


def verdict_line(record: Record) -> str:
    """Returns the checkpoint's name, the outcome and the reason on one line."""
    return f"{record.checkpoint.name}: {record.verdict.outcome}: {record.verdict.reason}"


def summary_of(record: Record) -> dict[str, str | None]:
    """Returns the verdict of a published run and the URIs of its files, as `--json` prints them."""
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
    from ray_jobs.command_line import stages
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(stages.publish))
