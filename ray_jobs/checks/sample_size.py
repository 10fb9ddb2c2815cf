"""Compute how many images the gate's margins need, with the gate's own tests.

docs/explanation/gate.md has the formulas. Nobody knows before the first runs how much two checkpoints differ. So this
file supposes two cases. In the first case both runs are equal on every image, which needs the fewest images. In the
second case both runs are equally good but differ on a tenth of the images: a share by its whole range, a score by a
quarter of its range.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ray_jobs.contract.sections.gate import Gate
from ray_jobs.contract.suite import Suite
from ray_jobs.gate.paired_proportions import PairedProportionsTest
from ray_jobs.gate.skewed_mean import MIN_SIZE, MeanTest
from ray_jobs.gate.zero_variance import ZeroVarianceTest
from ray_jobs.metrics import Metric
from ray_jobs.metrics.clip import similarity
from ray_jobs.metrics.field_metrics import build_field_metrics
from ray_jobs.metrics.registry import BUILT_IN, build_judge_metrics

SUPPOSED_IMAGES = 10_000  # the number of images in both cases
DIFFER, STEP = 0.1, 0.25  # the share of images that differ, and the difference as a share of a score's range


@dataclass(frozen=True)
class ImagesNeeded:
    """The images that a gating metric needs to PASS, for equal and for differing runs; None when unknown."""

    metric: str
    margin: float
    equal: int | None
    differing: int | None


def compute_images_needed(suite: Suite) -> list[ImagesNeeded]:
    """Returns the images needed for each gating metric. A suite's own metrics are left out."""
    schema = suite.caption.schema_of_fields
    metrics: Mapping[str, Metric] = {
        **BUILT_IN, **{metric.name: metric for metric in similarity.METRICS}, **build_judge_metrics(suite.judge),
        **(build_field_metrics(schema, suite.dataset.truth) if schema else {}),
    }  # fmt: skip
    return [
        ImagesNeeded(name, gating.margin, *_count_needed(metrics[name], gating.margin, suite.gate))
        for name, gating in suite.gate.metrics.items()
        if name in metrics
    ]


def find_size_doubts(suite: Suite, images: int) -> Iterator[str]:
    """Yields doubts about whether this number of images is enough for the gate."""
    groups: dict[ImagesNeeded, list[str]] = {}
    for needed in compute_images_needed(suite):
        groups.setdefault(replace(needed, metric=""), []).append(needed.metric)
    for needed, names in groups.items():
        about = f"gate.metrics {', '.join(names)} with margin {needed.margin:g}"
        if needed.equal is not None and images < max(needed.equal, MIN_SIZE):
            yield (
                f"{about}: it takes {max(needed.equal, MIN_SIZE)} images even for runs that are equal on each of them, "
                f"and there are {images}: no checkpoint with other captions can PASS; raise `limit` or the margin"
            )
        elif needed.differing is not None and images < needed.differing:
            yield (
                f"{about}: two runs as good as each other that differ on {DIFFER:.0%} of the images need about "
                f"{needed.differing} images to PASS, and there are {images}; expect INCONCLUSIVE, raise `limit` or the "
                "margin"
            )
        elif needed.equal is None and not needed.margin:
            yield f"{about}: only a checkpoint that is shown to be better can PASS; give it a margin"
    if images and 1 - 1 / images < suite.gate.coverage < 1:
        yield f"gate.coverage {suite.gate.coverage:g} of {images} images allows none without a score; is that meant?"


def _count_needed(metric: Metric, margin: float, gate: Gate) -> tuple[int | None, int | None]:
    low, high = metric.range
    reach = high - low
    if not margin or not math.isfinite(reach):
        return None, None
    equal = ZeroVarianceTest(0.0, SUPPOSED_IMAGES, -reach, reach).decisive_n(
        -margin, gate.alpha, gate.alpha, gate.power
    )
    if metric.kind == "share":
        differing = int(SUPPOSED_IMAGES * DIFFER / 2)
        supposed: PairedProportionsTest | MeanTest = PairedProportionsTest(differing, differing, SUPPOSED_IMAGES, "")
    else:
        spread = STEP * reach * math.sqrt(DIFFER) * metric.order
        error, count = np.asarray(spread / math.sqrt(SUPPOSED_IMAGES)), np.asarray(SUPPOSED_IMAGES)
        zero, tails = np.asarray(0.0), np.asarray(1 / DIFFER - 3)
        supposed = MeanTest("", zero, error, zero, tails, count, count - 1, count, metric.order)
    return equal, supposed.decisive_n(-margin, gate.alpha, gate.alpha, gate.power)
