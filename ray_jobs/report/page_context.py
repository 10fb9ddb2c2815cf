"""Define the input of a page: the verdict's headline, the run's files, and what it is compared with.

`write_report` and the comparison of two runs make it, and `page` reads it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray_jobs.contract.artifacts import Comparison, LimitCheck, Manifest, Scores, Summary
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.report.links import Links
from ray_jobs.report.rank_images import Side
from ray_jobs.report.trend import TrendRun


@dataclass(frozen=True)
class Headline:
    """The top of the page: a word with its tone (`pass`, `fail`, `unsure`, `missing`, `plain`), and a sentence."""

    title: str
    word: str
    tone: str
    sentence: str


@dataclass(frozen=True)
class PageContext:
    """The input of a page.

    `metrics` are the metrics that mean the same on both sides; None means all. Only these are plotted and used for
    ranking. `judge` has the judge's totals. `notes` are shown below the headline. `baseline_run` is the baseline's
    `checkpoint_folder/run_id`; empty if its report cannot be linked.
    """

    spec: Spec
    scores: Scores
    headline: Headline
    golden: Manifest
    captions: Manifest
    candidate: Side
    current_run: TrendRun
    baseline: Side | None = None
    compared_with: Mapping[str, Checkpoint] = field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()
    limits: Sequence[LimitCheck] = ()
    metrics: Sequence[str] | None = None
    judge: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    links: Links = field(default_factory=Links)
    baseline_run: str = ""

    @property
    def golden_uri(self) -> str:
        return f"{self.spec.root}/golden/{self.golden.id}"

    @property
    def summaries(self) -> dict[str, Summary]:
        """The summaries of the metrics that can be shown beside the baseline's."""
        alike = self.scores.metrics if self.metrics is None else self.metrics
        return {metric: self.scores.metrics[metric] for metric in alike}
