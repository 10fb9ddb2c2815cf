"""Audit captions: a fresh engine makes a sample of them anew, and they must be the same.

    python -m ray_jobs.audit --spec URI

A warm engine takes a checkpoint by a change of weights, with many checks; this is the one that does not rest on any of
them. The sample is drawn by a hash, the same whenever it is asked for and another for other captions.
"""

import hashlib
import heapq
import logging
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from ray_jobs.caption import requests_of
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

LISTED = 20  # differences that are kept with their texts


def audit(spec: Spec) -> None:
    """Make the audit of the spec's captions complete. Raises InputError when any is not what a fresh engine says."""
    captions, why = manifests.require_manifest(spec.captions_uri, "caption"), audits.why_impossible(spec)
    found = audits.read(spec.captions_uri)
    if found and found.not_audited and not why:  # the suite has another engine.audit by now
        json_files.remove(audits.uri_of(spec.captions_uri))
        found = None
    if found:
        log.info("captions %s: audited %s", spec.captions_uri, found.created_at)
    found = found or _make_audit(spec, captions, why)
    if found.not_audited:
        log.info("captions %s: not audited: %s", spec.captions_uri, found.not_audited)
    elif found.differing:
        named = ", ".join(one.image_id for one in found.differences[:3])
        raise InputError(
            f"captions {spec.captions_uri}: {found.differing} of {found.images} are not what a fresh engine says of "
            f"checkpoint {spec.checkpoint.uri} ({named}; audit.json has the texts); set engine.kind to ray_data_llm "
            "and validate it again with force"
        )


def draw_sample(spec: Spec, captions: Manifest) -> dict[str, tuple[str, Caption]]:
    """Image id and caption of each sampled row by its request's key; fewer than asked for where there are no more."""
    drawn = heapq.nsmallest(spec.suite.engine.audit, _iterate_captions(spec, captions))
    return {f"{part}/{row}": (image_id, Caption(text, ended)) for _, part, row, image_id, text, ended in drawn}


def _iterate_captions(spec: Spec, captions: Manifest) -> Iterator[tuple[str, str, int, str, str, str]]:
    """The rows that have a caption, each with the hash that it is drawn by before it."""
    said = ANSWER if spec.suite.caption.schema_of_fields else "caption"  # the whole of what the engine wrote
    for part in captions.parts:
        table = parts.read_columns(spec.captions_uri, part.name, ["image_id", said, "finish_reason", "failure"])
        for row, one in enumerate(table.to_pylist()):
            if one["failure"] is None:
                drawn = hashlib.sha256(f"{spec.caption_id}/{one['image_id']}".encode()).hexdigest()
                yield drawn, part.name, row, one["image_id"], one[said], one["finish_reason"]


def _make_audit(spec: Spec, captions: Manifest, why: str | None) -> Audit:
    whose = {"caption_id": spec.caption_id, "checkpoint": spec.checkpoint}
    sample = {} if why else draw_sample(spec, captions)
    if not sample:
        why = why or "no image has a caption"
        return audits.commit(spec.captions_uri, Audit(**whose, not_audited=why, created_at=datetime.now(UTC)))
    by = "an engine that was handed its weights" if captions.swapped else "engines that were started for it"
    log.info("audit: a fresh engine for %d of %d captions, made by %s", len(sample), captions.rows_out, by)
    stored = {key: caption for key, (_, caption) in sample.items()}
    probe(spec.checkpoint, [spec.suite.caption.prompt], grammar=grammar_of(spec.suite.caption))
    found = reference_engine.recaption(spec.checkpoint, spec.suite.engine, _tasks(sample), requests_of(spec), stored)
    limit = tolerance(found.dtype)
    differing = [
        Difference(image_id=sample[key][0], stored=stored[key].text, fresh=found.texts[key], gap=gap)
        for key, gap in sorted(found.gaps.items())
        if not is_tie(gap, limit)
    ]
    made = Audit(
        **whose,
        images=len(sample),
        equal=len(sample) - len(found.gaps),
        ties=len(found.gaps) - len(differing),
        differing=len(differing),
        worst_gap=max((gap for gap in found.gaps.values() if gap is not None), default=None),
        tolerance=limit,
        differences=tuple(differing[:LISTED]),
        dtype=found.dtype,
        seconds=found.seconds,
        versions=read_versions(),
        created_at=datetime.now(UTC),
    )
    log.info(
        "audit: %d equal, %d ties, %d differ; worst gap %s, tolerance %g (%s); %s",
        made.equal, made.ties, made.differing, made.worst_gap, limit, made.dtype,
        ", ".join(f"{what} {took:.1f} s" for what, took in made.seconds.items()),
    )  # fmt: skip
    if manifests.load_manifest(spec.captions_uri) != captions:
        raise RetryableError(f"captions {spec.captions_uri}: made anew while they were audited; audit them again")
    return audits.commit(spec.captions_uri, made)


def _tasks(keys: Iterable[str]) -> list[Task]:
    """The rows of the keys, part by part."""
    rows: dict[str, list[int]] = {}
    for key in keys:
        part, row = key.rsplit("/", 1)
        rows.setdefault(part, []).append(int(row))
    return [{"part": part, "rows": sorted(rows[part])} for part in sorted(rows)]


def main(spec_uri: str) -> int:
    """Run the stage on the spec at the URI, and return the exit code."""
    return frame.run("audit", audit, spec_uri)


if __name__ == "__main__":
    from ray_jobs.command_line.programs import run_program

    sys.exit(run_program("audit"))
