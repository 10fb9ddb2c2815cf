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
    "local": Spread(0.66, "images on a local disk: three tasks on two CPUs, as one may be writing its part"),
    "object-store": Spread(0.5, "images in an object store wait for it at times: two tasks on each CPU"),
    "web": Spread(0.25, "images from the web wait for other people's servers: four tasks on each CPU"),
}


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
    log.info("%.1f ms an image, measured on %d: about %.0f s for %d on %g CPUs",
             each * 1000, min(PROBED, pending[0].rows), each * rows / cpus, rows, cpus)  # fmt: skip


def _probed(source: Source, golden_uri: str, part: PlannedPart, settings: Preprocess) -> float:
    """Seconds that one task takes for an image of the part."""
    chosen = located(golden_uri, part.file, part.group)[:PROBED]
    own = decoder(settings)
    own.alone(prepared, next(source.read(chosen[:1])))  # the process imports what it needs
    began = time.perf_counter()
    for row in source.read(chosen):
        own.alone(prepared, row)
    return (time.perf_counter() - began) / len(chosen)
