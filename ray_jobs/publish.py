"""Publish a run: gather what its stages left into the one record that every index and page is made from.

    python -m ray_jobs.publish --spec URI

Light enough for the Airflow worker: it reads small JSON only.
"""

import argparse
import sys
from contextlib import suppress
from datetime import UTC, datetime

from ray_jobs import records, stored
from ray_jobs.contract import BadInput, Manifest, Record, Scores, Spec, Trouble, Verdict
from ray_jobs.plan import load_spec


def publish(spec: Spec) -> Record:
    """Write `record.json` and its index entry; a run published before keeps its record, which is returned, unless that
    is INCOMPLETE or the spec is of a forced request.

    Raises BadInput when a stage has not committed, or when the sums of the stages contradict each other.
    """
    while True:
        gathered = _gathered(spec)
        published = records.publish(spec.root, gathered, replace=spec.force is not None)
        with suppress(BadInput):  # forced meanwhile: who forced it publishes it
            if _verdict(spec).model_dump_json() != gathered.verdict.model_dump_json():
                continue  # else what was read before could stand over what another published
        return published


def _gathered(spec: Spec) -> Record:
    golden = _read(Manifest, f"{spec.golden_uri}/manifest.json")
    verdict = _verdict(spec)  # first: it says whose scores these are
    scores = _read(Scores, f"{records.results_uri(spec.run_uri, verdict)}/scores.json")
    captions = scores.captions or _read(Manifest, f"{spec.captions_uri}/manifest.json")
    if captions.rows_in != golden.rows_out or scores.manifest.rows_in != captions.rows_in:
        raise BadInput(
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


def _verdict(spec: Spec) -> Verdict:
    return _read(Verdict, f"{spec.run_uri}/verdict.json")


def _read(model: type[stored.Model], uri: str) -> stored.Model:
    try:
        return stored.load(model, uri)
    except FileNotFoundError:
        raise BadInput(f"{uri}: missing, so its stage is not complete; run the stage again") from None
    except ValueError as error:
        what = type(error).__name__  # its text has many lines
        raise BadInput(f"{uri}: not of this version ({what}); run its stage again with force") from None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.publish", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--spec", required=True, help="URI of the spec that `plan` wrote")
    asked = parser.parse_args(arguments)
    try:
        record = publish(load_spec(asked.spec))
    except (BadInput, Trouble) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, BadInput) else 1
    print(f"{record.checkpoint.name}: {record.verdict.outcome}: {record.verdict.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
