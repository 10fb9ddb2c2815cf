"""Measure captions: one small file per metric, one value per image, None if nothing can be measured.

A metric file holds `METRIC = Metric(...)`. A suite's own metric does the same, and imports these names from here. At
its top a metric file imports the standard library and this package only. Its functions import all other modules that
they need.
"""

from ray_jobs.metrics.caption_context import CaptionContext
from ray_jobs.metrics.metric import UNBOUNDED, Metric

Captioned = CaptionContext  # its name in the metric files of earlier suites

__all__ = ["UNBOUNDED", "CaptionContext", "Captioned", "Metric"]
