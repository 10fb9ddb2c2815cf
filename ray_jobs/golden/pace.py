"""How the work is spread over the cluster, why, and how long it will take: said before it begins."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import ray

from ray_jobs.contract import Preprocess, Spec
from ray_jobs.golden.isolation import decoder
from ray_jobs.golden.making import prepared
from ray_jobs.golden.planning import GoldenPlan, PlannedPart, located
from ray_jobs.sources import Source
from ray_jobs.sources.reading import reads_at_once

log = logging.getLogger("assay")

PROBED = 16  # images prepared beforehand to learn how long one takes


@dataclass(frozen=True)
class Spread:
    cpus_a_task: float
    why: str


SPREAD = {
    "local": Spread(1, "images on a local disk wait for the CPU: one task on each"),
    "object-store": Spread(0.5, "images in an object store wait for it at times: two tasks on each CPU"),
    "web": Spread(0.25, "images from the web wait for other people's servers: four tasks on each CPU"),
}
BLOCK_PARTS, BLOCKS_A_TASK = 8, 4


def blocks(count: int, cpus_a_task: float) -> int:
    """Into how many blocks, each done by one Ray task, to divide parts: few, for starting one takes 60 ms, but enough.

    That the last ones end together matters more than what starting takes.
    """
    at_once = ray.cluster_resources().get("CPU", 1) / cpus_a_task
    return max(-(-count // BLOCK_PARTS), min(count, int(BLOCKS_A_TASK * at_once)))


def spread(source: Source) -> Spread:
    return SPREAD[source.distance]


def announce(spec: Spec, source: Source, plan: GoldenPlan, pending: Sequence[PlannedPart]) -> None:
    """Log the plan: what there is, what is left to do, how it is spread and, by a probe, how long it will take."""
    dataset = spec.suite.dataset
    known = f", {plan.bytes / 1e6:.0f} MB" if plan.bytes else ""
    log.info("golden set %s: %d images of %d listed%s, in %d parts",
             spec.golden_uri, plan.rows, plan.listed, known, len(plan.parts))  # fmt: skip
    if not pending:
        return
    chosen, cpus = spread(source), ray.cluster_resources().get("CPU", 1)
    reads = reads_at_once(dataset, source.distance)
    log.info("%s%s", chosen.why, f", {reads} images read at once in each" if reads > 1 else "")
    each = ray.get(ray.remote(_probed).remote(source, spec.golden_uri, pending[0], spec.suite.preprocess))
    rows = sum(part.rows for part in pending)
    at_once = cpus / chosen.cpus_a_task if source.distance == "web" else cpus
    log.info("%.1f ms an image, measured on %d: about %.0f s for %d on %g CPUs",
             each * 1000, min(PROBED, pending[0].rows), each * rows / at_once, rows, cpus)  # fmt: skip


def _probed(source: Source, golden_uri: str, part: PlannedPart, settings: Preprocess) -> float:
    """Seconds that one task takes for an image of the part."""
    chosen = located(golden_uri, part.file, part.group)[:PROBED]
    own = decoder(settings)
    own.alone(prepared, next(source.read(chosen[:1])))  # the process imports what it needs
    began = time.perf_counter()
    for row in source.read(chosen):
        own.alone(prepared, row)
    return (time.perf_counter() - began) / len(chosen)
