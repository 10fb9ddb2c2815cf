"""Audit captions: a fresh engine captions a sample of the images again, and the captions must be equal.

    python -m ray_jobs.audit --spec URI

A warm engine swaps weights to load a checkpoint, with many checks. The audit rests on none of these checks. The sample
is drawn by a hash: the same captions always have the same sample, and other captions have another one.
"""

if __name__ == "__main__":
    from ray_jobs.fork_server.entrypoint import run_forked

    run_forked()  # does not return if a fork server runs this program; before the imports, which take seconds

import hashlib
import heapq
import logging
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

from ray_jobs.caption import make_request_builder
from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.audit import reference_engine
from ray_jobs.engine.audit.divergence import Caption, is_tie, tolerance
from ray_jobs.engine.probe.checkpoint_probe import probe
from ray_jobs.engine.protocol import Task
from ray_jobs.engine.versions import read_versions
from ray_jobs.fields.columns import ANSWER
from ray_jobs.fields.grammar import grammar_of
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.job import frame
from ray_jobs.storage import audits, json_files, manifests, parts
from ray_jobs.storage.audits import Audit, Difference

log = logging.getLogger("assay")

MAX_DIFFERENCES = 20  # differences that audit.json holds with their texts


def audit(spec: Spec) -> None:
    """Complete the audit of the spec's captions. Raises InputError when a fresh engine writes another caption."""
    captions, why = manifests.require_manifest(spec.captions_uri, "caption"), audits.why_impossible(spec)
    result = audits.read(spec.captions_uri)
    if result and result.not_audited and not why:  # the suite's engine.audit has changed since
        json_files.remove(audits.uri_of(spec.captions_uri))
        result = None
    if result:
        log.info("captions %s: audited %s", spec.captions_uri, result.created_at)
    result = result or _make_audit(spec, captions, why)
    if result.not_audited:
        log.info("captions %s: not audited: %s", spec.captions_uri, result.not_audited)
    elif result.differing:
        names = ", ".join(difference.image_id for difference in result.differences[:3])
        raise InputError(
            f"captions {spec.captions_uri}: {result.differing} of {result.images} are not what a fresh engine says of "
            f"checkpoint {spec.checkpoint.uri} ({names}; audit.json has the texts); set engine.kind to ray_data_llm "
            "and validate it again with force"
        )


def draw_sample(spec: Spec, captions: Manifest) -> dict[str, tuple[str, Caption]]:
    """Returns the image id and caption of each sampled row, by the key of its request.

    There are `engine.audit` rows, or fewer if there are fewer captions.
    """
    drawn = heapq.nsmallest(spec.suite.engine.audit, _iterate_captions(spec, captions))
    return {f"{part}/{row}": (image_id, Caption(text, ended)) for _, part, row, image_id, text, ended in drawn}


def _iterate_captions(spec: Spec, captions: Manifest) -> Iterator[tuple[str, str, int, str, str, str]]:
    """Yields the rows that have a caption. Each begins with the hash that orders the sample."""
    column = ANSWER if spec.suite.caption.schema_of_fields else "caption"  # the column with the engine's whole answer
    for part in captions.parts:
        table = parts.read_columns(spec.captions_uri, part.name, ["image_id", column, "finish_reason", "failure"])
        for row, cells in enumerate(table.to_pylist()):
            if cells["failure"] is None:
                drawn = hashlib.sha256(f"{spec.caption_id}/{cells['image_id']}".encode()).hexdigest()
                yield drawn, part.name, row, cells["image_id"], cells[column], cells["finish_reason"]


def _make_audit(spec: Spec, captions: Manifest, why: str | None) -> Audit:
    identity = {"caption_id": spec.caption_id, "checkpoint": spec.checkpoint}
    sample = {} if why else draw_sample(spec, captions)
    if not sample:
        why = why or "no image has a caption"
        return audits.commit(spec.captions_uri, Audit(**identity, not_audited=why, created_at=datetime.now(UTC)))
    engines = "an engine that swapped weights" if captions.weights_swapped else "engines started for them"
    log.info("audit: a fresh engine for %d of %d captions, made by %s", len(sample), captions.rows_out, engines)
    stored = {key: caption for key, (_, caption) in sample.items()}
    frame.join_cluster(spec)
    probe(spec.checkpoint, [spec.suite.caption.prompt], grammar=grammar_of(spec.suite.caption))
    recaptioned = reference_engine.recaption(
        spec.checkpoint, spec.suite.engine, _group_tasks(sample), make_request_builder(spec), stored
    )
    limit = tolerance(recaptioned.dtype)
    differing = [
        Difference(image_id=sample[key][0], stored=stored[key].text, fresh=recaptioned.texts[key], gap=gap)
        for key, gap in sorted(recaptioned.gaps.items())
        if not is_tie(gap, limit)
    ]
    result = Audit(
        **identity,
        images=len(sample),
        equal=len(sample) - len(recaptioned.gaps),
        ties=len(recaptioned.gaps) - len(differing),
        differing=len(differing),
        worst_gap=max((gap for gap in recaptioned.gaps.values() if gap is not None), default=None),
        tolerance=limit,
        differences=tuple(differing[:MAX_DIFFERENCES]),
        dtype=recaptioned.dtype,
        seconds=recaptioned.seconds,
        versions=read_versions(),
        created_at=datetime.now(UTC),
    )
    log.info(
        "audit: %d equal, %d ties, %d differ; worst gap %s, tolerance %g (%s); %s",
        result.equal, result.ties, result.differing, result.worst_gap, limit, result.dtype,
        ", ".join(f"{step} {took:.1f} s" for step, took in result.seconds.items()),
    )  # fmt: skip
    if manifests.load_manifest(spec.captions_uri) != captions:
        raise RetryableError(f"captions {spec.captions_uri}: made anew while they were audited; audit them again")
    return audits.commit(spec.captions_uri, result)


def _group_tasks(keys: Iterable[str]) -> list[Task]:
    """Returns the rows of the keys as one task per part."""
    rows: dict[str, list[int]] = {}
    for key in keys:
        part, row = key.rsplit("/", 1)
        rows.setdefault(part, []).append(int(row))
    return [{"part": part, "rows": sorted(rows[part])} for part in sorted(rows)]


main = partial(frame.run, "audit", audit)  # main(spec_uri) runs the stage and returns the exit code


if __name__ == "__main__":
    from ray_jobs.command_line import stages
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(stages.audit))
