"""Build the parts of a golden set with Ray Data, then reject the images that equal an earlier image.

The driver of `preprocess` calls this. The work on each part runs in a Ray task (`part_tasks`). A part that exists is
read and not built again.
"""

import random
from collections.abc import Callable, Iterator
from logging import getLogger
from typing import Any

from ray_jobs.contract.spec import Spec
from ray_jobs.golden.duplicates import Duplicates
from ray_jobs.golden.parallelism import SPREAD, count_blocks, log_plan
from ray_jobs.golden.part_plan import GoldenPlan
from ray_jobs.golden.part_tasks import drop_duplicates, join_references, make_part
from ray_jobs.golden.part_totals import PartTotals
from ray_jobs.golden.set_checks import warn_of_many_references
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.runtime.progress import Progress
from ray_jobs.runtime.ray_dataset import log_until_first_row, ray_dataset
from ray_jobs.sources.source import Distance, Source
from ray_jobs.storage import manifests

log = getLogger("assay")


def build_parts(
    spec: Spec,
    source: Source,
    distance: Distance,
    plan: GoldenPlan,
    duplicates: Duplicates,
    on_rows_left: Callable[[int], None] = lambda _: None,
) -> PartTotals:
    """Build the missing parts. Returns the totals of all parts.

    Calls `on_rows_left` with the number of images that are still to be read, first before the first part. Adds the
    hashes of all images to `duplicates`. Raises RetryableError for a part that does not fit the plan.
    """
    totals = PartTotals()
    done = manifests.list_part_names(spec.golden_uri)
    pending = [part for part in plan.parts if part.name not in done]
    log_plan(spec, source, distance, plan, pending)
    progress = Progress("golden set", plan.rows, plan.rows - sum(part.rows for part in pending))
    on_rows_left(progress.total - progress.done)
    # Two jobs that prepare the same set start at different parts. So the jobs share the work.
    first = random.randrange(len(pending)) if pending else 0
    tasks = [part.model_dump() for part in pending[first:] + pending[:first]]
    tasks += [part.model_dump() for part in plan.parts if part.name in done]
    rows_of = {part.name: part.rows for part in plan.parts}
    settings = {"source": source, "golden_uri": spec.golden_uri, "settings": spec.suite.preprocess}
    for row in _run_tasks(tasks, make_part, settings, SPREAD[distance].cpus_per_task):
        part = totals.add(row)
        lost = sum(part.lost.values())
        if part.rows + lost != rows_of[part.name]:
            raise RetryableError(f"{part.name} of {spec.golden_uri} is not of its plan; delete the folder and rerun")
        duplicates.add(part.name, list(row["image_ids"]), list(row["blake3"]), list(row["references"]))
        if part.name not in done:
            progress.add(part.rows + lost, f"{lost} rejected in {part.name}" if lost else "")
            on_rows_left(progress.total - progress.done)
        if row["isolated"]:
            log.warning("%s: a decoder died, so its images were decoded one by one: %s", part.name, part.lost)
    if others := totals.origins["found"] - len(done):
        log.info("%d parts were made by another job meanwhile", others)
    if raced := totals.origins["raced"]:
        log.info("%d parts were made here and by another job at once; the first stands", raced)
    return totals


def reject_duplicates(spec: Spec, totals: PartTotals, duplicates: Duplicates) -> None:
    """Turn the images that equal an earlier image into rejects, and add the changed parts to the totals.

    Before that, the earlier image gets the references of the later images.
    """
    warn_of_many_references(spec, *duplicates.join())
    for row in _run_tasks(list(duplicates.join_tasks()), join_references, {"golden_uri": spec.golden_uri}, 1):
        totals.add(row)
    settings = {"golden_uri": spec.golden_uri, "settings": spec.suite.preprocess}
    for row in _run_tasks(list(duplicates.drop_tasks()), drop_duplicates, settings, 1):
        totals.add(row)


def _run_tasks(
    tasks: list[dict[str, Any]], work: Callable[..., Any], settings: dict[str, Any], cpus: float
) -> Iterator[dict[str, Any]]:
    """The rows that `work` returns for the tasks, in the order in which Ray finishes them."""
    if not tasks:
        return iter(())
    dataset = ray_dataset(tasks, count_blocks(len(tasks), cpus)).map(work, fn_kwargs=settings, num_cpus=cpus)
    return log_until_first_row(iter(dataset.iter_rows()), "golden set")
