"""Choose how to spread the work over the cluster, and log the choice and the estimated time before the work begins.

The driver of `preprocess` calls this. A Ray task measures the time per image.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import ray

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.contract.spec import Spec
from ray_jobs.golden.decoder_process import ProcessDied, get_decoder
from ray_jobs.golden.part_plan import GoldenPlan, PlannedPart
from ray_jobs.golden.single_images import PROBED, measure_seconds_per_image
from ray_jobs.sources.reading.fetch import reads_at_once
from ray_jobs.sources.source import Distance, Source

log = logging.getLogger("assay")

PROBE_SECONDS = 120.0


@dataclass(frozen=True)
class Spread:
    cpus_per_task: float
    why: str


SPREAD = {
    "local": Spread(1, "images on a local disk wait for the CPU: one task on each"),
    "object-store": Spread(0.5, "images in an object store wait for it at times: two tasks on each CPU"),
    "web": Spread(0.25, "images from the web wait for other people's servers: four tasks on each CPU"),
}
BLOCK_PARTS, BLOCKS_PER_TASK = 8, 4


def count_blocks(count: int, cpus_per_task: float) -> int:
    """The number of blocks for `count` parts. One Ray task does one block.

    Few blocks are better, because starting a task takes 60 ms. But it matters more that the last tasks end together.
    """
    at_once = ray.cluster_resources().get("CPU", 1) / cpus_per_task
    return max(-(-count // BLOCK_PARTS), min(count, int(BLOCKS_PER_TASK * at_once)))


def log_plan(spec: Spec, source: Source, distance: Distance, plan: GoldenPlan, pending: Sequence[PlannedPart]) -> None:
    """Log the plan: the images, the parts to do, the spread over the cluster, and the time, which a probe measures."""
    dataset = spec.suite.dataset
    size = f", {plan.bytes / 1e6:.0f} MB" if plan.bytes else ""
    log.info("golden set %s: %d images of %d listed%s, in %d parts",
             spec.golden_uri, plan.rows, plan.listed, size, len(plan.parts))  # fmt: skip
    if not pending:
        return
    spread, cpus = SPREAD[distance], ray.cluster_resources().get("CPU", 1)
    reads = reads_at_once(dataset, distance)
    log.info("%s%s", spread.why, f", {reads} images read at once in each" if reads > 1 else "")
    seconds_per_image = ray.get(
        ray.remote(_probe_part).remote(source, spec.golden_uri, pending[0], spec.suite.preprocess)
    )
    if seconds_per_image is None:
        log.info("the first images end the process that decodes them, so how long it will take is not known")
        return
    rows = sum(part.rows for part in pending)
    at_once = cpus / spread.cpus_per_task if distance == "web" else cpus
    total_seconds = seconds_per_image * rows / at_once
    log.info("%.1f ms per image, measured on %d: about %.0f s for %d on %g CPUs",
             seconds_per_image * 1000, min(PROBED, pending[0].rows), total_seconds, rows, cpus)  # fmt: skip


def _probe_part(source: Source, golden_uri: str, part: PlannedPart, settings: Preprocess) -> float | None:
    """The seconds that one task takes per image of the part; None when its process dies."""
    try:
        return get_decoder(settings).run(
            measure_seconds_per_image, source, golden_uri, part, settings, seconds=PROBE_SECONDS
        )
    except (ProcessDied, MemoryError):
        return None
