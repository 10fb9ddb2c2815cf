"""Check a whole golden set: how many images were rejected, and whether it has the labels and references it should have.

The driver of `preprocess` calls this before the set is complete, and again whenever a complete set is used.
"""

import logging

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.golden.former_cells import check_texts_as_read_now
from ray_jobs.golden.part_totals import PartTotals
from ray_jobs.golden.reject_summary import describe_rejects
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable

log = logging.getLogger("assay")
MANY_REFERENCES = 50  # per image; PASCAL-50S has 50, COCO and Flickr30k have five


def check_complete_set(spec: Spec, manifest: Manifest) -> None:
    """Check a golden set that an earlier job completed. Raises InputError as `check_rejects` does."""
    check_rejects(spec, manifest.lost, manifest.rows_in)
    check_texts_as_read_now(spec.golden_uri, manifest, spec.suite.dataset)
    log.info("golden set %s is complete: %d images", spec.golden_uri, manifest.rows_out)
    _warn_of_lost_references(spec, manifest)


def check_rejects(spec: Spec, lost: dict[str, int], images: int) -> None:
    """Raise InputError when more images were rejected than the suite accepts, or all images.

    Rows whose references went to an equal image do not count, because nothing of them is lost. The message ends with
    the first reject and its reason, because the reason names the remedy.
    """
    images -= lost.get("joined", 0)
    lost = {reason: count for reason, count in lost.items() if reason != "joined"}
    dataset, rejected, most = spec.suite.dataset.source, sum(lost.values()), spec.suite.preprocess.max_rejected_fraction
    if rejected <= most * images and rejected < images:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in lost.items())
    example = _describe_example(spec)
    if rejected == images:
        raise InputError(f"dataset {dataset}: no usable image ({reasons}); check the source and its columns{example}")
    keep = ", keep duplicates" if "duplicate" in lost else ""
    raise InputError(
        f"dataset {dataset}: {rejected} of {images} images rejected ({reasons}), more than max_rejected_fraction "
        f"{most:g}; see {spec.golden_uri}/rejects.html, then mend the source and delete {spec.golden_uri}{keep}, "
        f"or raise the limit{example}"
    )


def check_texts(spec: Spec, totals: PartTotals) -> None:
    """Raise InputError when the suite names a column of labels or references, and no image has one."""
    dataset, images = spec.suite.dataset, sum(part.rows for part in totals.parts.values())
    for key, fact, noun in (("references", "referenced", "reference"), ("label", "labelled", "label")):
        if (column := getattr(dataset, key)) is None:
            continue
        if not (count := totals.sum_fact(fact)):
            fault = f"none of the {images} images has a {noun} in {column!r}; correct `dataset.{key}` or leave it out"
            raise InputError(f"dataset {dataset.source}: {fault}{_describe_example(spec)}")
        if count < images:
            log.info("%d of %d images have a %s", count, images, noun)


def warn_of_many_references(spec: Spec, count: int, image_id: str) -> None:
    """Warn of an image with so many references that it probably is a placeholder for missing images."""
    if count > MANY_REFERENCES:
        log.warning(
            "dataset %s: %s has %d references, of rows whose images are the same bytes: if it is a picture that says "
            "that an image is not there, take these rows out of the source",
            spec.suite.dataset.source, printable(image_id, 100), count,
        )  # fmt: skip


def _warn_of_lost_references(spec: Spec, manifest: Manifest) -> None:
    """Warn that a golden set of an earlier version may lack references, because it dropped those of its duplicates."""
    count = manifest.lost.get("duplicate", 0)
    if count and spec.suite.dataset.references and "joined_references" not in manifest.details:
        log.warning(
            "golden set %s was made by a version that dropped the references of its %d duplicates; set "
            "dataset.revision to another word to make it anew", spec.golden_uri, count,
        )  # fmt: skip


def _describe_example(spec: Spec) -> str:
    """The first reject and its reason, as the end of a line; empty without a reject."""
    example = describe_rejects(spec.golden_uri)
    return f"; {example}" if example else ""
