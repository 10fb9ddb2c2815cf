"""Prepare a golden set: every image of the sample decoded, upright, sRGB, on the patch grid, or rejected with a reason.

    python -m ray_jobs.preprocess --spec URI

The sample is planned into parts; Ray Data works on parts, and a part that is there is not made again. A golden set that
is complete is left as it is.
"""

import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import ray

from ray_jobs.contract.artifacts import Manifest, Part
from ray_jobs.contract.spec import Spec
from ray_jobs.dataset.same_content import note_golden
from ray_jobs.golden import previews
from ray_jobs.golden.build_part import drop_duplicates, join_references, make_part
from ray_jobs.golden.duplicates import Duplicates, open_duplicates
from ray_jobs.golden.former_cells import check_texts_as_read_now
from ray_jobs.golden.parallelism import SPREAD, count_blocks, log_plan
from ray_jobs.golden.part_plan import GoldenPlan, check_revision, plan_with_distance
from ray_jobs.golden.reject_summary import describe_rejects
from ray_jobs.golden.source_process import run_in_source_process
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.job import frame
from ray_jobs.runtime.progress import Progress
from ray_jobs.runtime.ray_dataset import ray_dataset, tell_first
from ray_jobs.sources.formats.folder import FolderSource
from ray_jobs.sources.formats.webdataset import WebDatasetSource
from ray_jobs.sources.open_source import open_source
from ray_jobs.sources.source import Distance, Source
from ray_jobs.storage import parts

log = logging.getLogger("assay")
MANY_REFERENCES = 50  # of one image: PASCAL-50S has so many, COCO and Flickr30k five
FACTS = ("repairs", "formats", "source_bytes", "bytes", "referenced", "labelled")


@dataclass
class Made:
    """The parts of the golden set by name, and what they add up to."""

    parts: dict[str, Part] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> Part:
        part = Part.model_validate_json(row["part"])
        self.parts[part.name] = part
        self.facts[part.name] = {name: row[name] for name in FACTS}
        self.origins[row["origin"]] += 1
        self.seconds.update(json.loads(row["seconds"]))
        return part

    def listed(self) -> list[Part]:
        return [self.parts[name] for name in sorted(self.parts)]

    def lost(self) -> dict[str, int]:
        return parts.lost_of(self.parts.values())

    def total(self, fact: str) -> Any:
        """The sum of a fact over all parts; of counts by name, by name."""
        values = [facts[fact] for facts in self.facts.values()]
        if isinstance(values[0], int):
            return sum(values)
        return dict(sorted(sum((Counter(json.loads(value)) for value in values), Counter[str]()).items()))


def preprocess(spec: Spec) -> None:
    """Make the golden set of the spec complete."""
    if found := parts.manifest(spec.golden_uri):
        check_rejects(spec, found.lost, found.rows_in)
        check_texts_as_read_now(spec.golden_uri, found, spec.suite.dataset)
        log.info("golden set %s is complete: %d images", spec.golden_uri, found.rows_out)
        _warn_of_lost_references(spec, found)
        _note_content(spec)
        return
    times = [time.monotonic()]
    source = open_source(spec.suite.dataset)
    plan, distance = run_in_source_process(f"dataset {spec.suite.dataset.source}", plan_with_distance, spec, source)
    times.append(time.monotonic())
    made = Made()
    with open_duplicates() as duplicates:
        make_parts(spec, source, distance, plan, made, duplicates)
        times.append(time.monotonic())
        if spec.suite.preprocess.duplicates == "reject":
            reject_duplicates(spec, made, duplicates)
    previews.write_rejects(spec.golden_uri, spec.suite.dataset.source, made.listed(), made.lost())
    check_rejects(spec, made.lost(), plan.rows)
    check_texts(spec, made)
    check_revision(spec)  # it may have changed while it was read
    previews.write_preview(spec.golden_uri, made.listed())
    times.append(time.monotonic())
    manifest = commit(spec, plan, made, dict(zip(("list", "prepare", "finish"), _between(times), strict=True)))
    check_texts_as_read_now(spec.golden_uri, manifest, spec.suite.dataset)  # an earlier version may have begun it
    _note_content(spec)


def _warn_of_lost_references(spec: Spec, found: Manifest) -> None:
    """Say that a golden set of an earlier version may miss references: those of its duplicates went with them."""
    count = found.lost.get("duplicate", 0)
    if count and spec.suite.dataset.references and "joined_references" not in found.details:
        log.warning(
            "golden set %s was made by a version that dropped the references of its %d duplicates; set "
            "dataset.revision to another word to make it anew", spec.golden_uri, count,
        )  # fmt: skip


def _note_content(spec: Spec) -> None:
    """Let the golden set be found by its content, where the source's own folder holds all of it."""
    if not spec.content_id:
        return
    with suppress(InputError, RetryableError):  # a set that is complete needs no source any more, and may have lost it
        if isinstance(open_source(spec.suite.dataset), FolderSource | WebDatasetSource):
            note_golden(spec)


def make_parts(
    spec: Spec, source: Source, distance: Distance, plan: GoldenPlan, made: Made, duplicates: Duplicates
) -> None:
    """Make the parts that are not there yet, each in a Ray task."""
    done = parts.done(spec.golden_uri)
    pending = [part for part in plan.parts if part.name not in done]
    log_plan(spec, source, distance, plan, pending)
    progress = Progress("golden set", plan.rows, plan.rows - sum(part.rows for part in pending))
    # Two jobs that prepare the same set begin at different parts, and so share the work instead of doing it twice.
    first = random.randrange(len(pending)) if pending else 0
    tasks = [part.model_dump() for part in pending[first:] + pending[:first]]
    tasks += [part.model_dump() for part in plan.parts if part.name in done]
    rows_of = {part.name: part.rows for part in plan.parts}
    settings = {"source": source, "golden_uri": spec.golden_uri, "settings": spec.suite.preprocess}
    for row in _worked(tasks, make_part, settings, SPREAD[distance].cpus_a_task):
        part = made.add(row)
        if part.rows + sum(part.lost.values()) != rows_of[part.name]:
            raise RetryableError(f"{part.name} of {spec.golden_uri} is not of its plan; delete the folder and rerun")
        duplicates.add(part.name, list(row["image_ids"]), list(row["blake3"]), list(row["references"]))
        if part.name not in done:
            lost = sum(part.lost.values())
            progress.add(part.rows + lost, f"{lost} rejected in {part.name}" if lost else "")
        if row["isolated"]:
            log.warning("%s: a decoder died, so its images were decoded one by one: %s", part.name, part.lost)
    if others := made.origins["found"] - len(done):
        log.info("%d parts were made by another job meanwhile", others)
    if raced := made.origins["raced"]:
        log.info("%d parts were made here and by another job at once; the first stands", raced)


def reject_duplicates(spec: Spec, made: Made, duplicates: Duplicates) -> None:
    """Turn the images that equal an earlier one into rejects, once the earlier one has their references."""
    tell_many_references(spec, *duplicates.join())
    for row in _worked(list(duplicates.join_tasks()), join_references, {"golden_uri": spec.golden_uri}, 1):
        made.add(row)
    tasks = list(duplicates.drop_tasks())
    settings = {"golden_uri": spec.golden_uri, "settings": spec.suite.preprocess}
    for row in _worked(tasks, drop_duplicates, settings, 1):
        made.add(row)


def tell_many_references(spec: Spec, count: int, image_id: str) -> None:
    """Warn of an image that has so many references that it is likely to stand for images which are not there."""
    if count > MANY_REFERENCES:
        log.warning(
            "dataset %s: %s has %d references, of rows whose images are the same bytes: if it is a picture that says "
            "that an image is not there, take these rows out of the source",
            spec.suite.dataset.source, printable(image_id, 100), count,
        )  # fmt: skip


def check_rejects(spec: Spec, lost: dict[str, int], images: int) -> None:
    """Raises InputError when more of the images were rejected than the suite accepts, or all of them.

    Rows whose references an equal image has are not counted, because nothing of them is lost. The line ends with the
    first of the rejects and why, because that names the remedy.
    """
    images -= lost.get("joined", 0)
    lost = {reason: count for reason, count in lost.items() if reason != "joined"}
    dataset, rejected, most = spec.suite.dataset.source, sum(lost.values()), spec.suite.preprocess.max_rejected_fraction
    if rejected <= most * images and rejected < images:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in lost.items())
    example = _example(spec)
    if rejected == images:
        raise InputError(f"dataset {dataset}: no usable image ({reasons}); check the source and its columns{example}")
    keep = ", keep duplicates" if "duplicate" in lost else ""
    raise InputError(
        f"dataset {dataset}: {rejected} of {images} images rejected ({reasons}), more than max_rejected_fraction "
        f"{most:g}; see {spec.golden_uri}/rejects.html, then mend the source and delete {spec.golden_uri}{keep}, "
        f"or raise the limit{example}"
    )


def check_texts(spec: Spec, made: Made) -> None:
    """Raises InputError when no image has a label, or a reference, though the suite names where they are."""
    dataset, images = spec.suite.dataset, sum(part.rows for part in made.parts.values())
    for key, fact, noun in (("references", "referenced", "reference"), ("label", "labelled", "label")):
        if (column := getattr(dataset, key)) is None:
            continue
        if not (count := made.total(fact)):
            told = f"none of the {images} images has a {noun} in {column!r}; correct `dataset.{key}` or leave it out"
            raise InputError(f"dataset {dataset.source}: {told}{_example(spec)}")
        if count < images:
            log.info("%d of %d images have a %s", count, images, noun)


def _example(spec: Spec) -> str:
    """The first reject and why, as the end of a line."""
    told = describe_rejects(spec.golden_uri)
    return f"; {told}" if told else ""


def commit(spec: Spec, plan: GoldenPlan, made: Made, seconds: dict[str, float]) -> Manifest:
    """Write the manifest, which completes the golden set, and return it."""
    manifest = parts.summed(
        "golden",
        spec.golden_id,
        made.listed(),
        rows_in=plan.rows,
        seconds=seconds,
        versions=plan.versions | {"ray": ray.__version__},
        details={
            "source": spec.suite.dataset.source,
            "source_revision": spec.source_revision,
            **({"cells": plan.cells} if plan.cells else {}),
            "listed": plan.listed,
            "source_bytes": made.total("source_bytes"),
            "bytes": made.total("bytes"),
            "formats": made.total("formats"),
            "repairs": made.total("repairs"),
            **({"joined_references": True} if spec.suite.dataset.references else {}),
            "task_seconds": {phase: round(took, 3) for phase, took in sorted(made.seconds.items())},
        },
    )
    manifest = parts.commit(spec.golden_uri, manifest)
    log.info("golden set complete: %d read, %d kept, rejected %s", manifest.rows_in, manifest.rows_out, manifest.lost)
    log.info("rejects: %s/rejects.html, contact sheet: %s/preview.png", spec.golden_uri, spec.golden_uri)
    return manifest


def _worked(tasks: list[dict[str, Any]], work: Callable[..., Any], settings: dict[str, Any], cpus: float) -> Any:
    """The rows that the work returns for the tasks, as they come."""
    if not tasks:
        return iter(())
    dataset = ray_dataset(tasks, count_blocks(len(tasks), cpus)).map(work, fn_kwargs=settings, num_cpus=cpus)
    return tell_first(iter(dataset.iter_rows()), "golden set")


def _between(times: list[float]) -> list[float]:
    return [round(after - before, 3) for before, after in pairwise(times)]


def main(spec_uri: str) -> int:
    """Run the stage on the spec at the URI, and return the exit code."""
    return frame.run("preprocess", preprocess, spec_uri)


if __name__ == "__main__":
    from ray_jobs.command_line.programs import run_program

    sys.exit(run_program("preprocess"))
