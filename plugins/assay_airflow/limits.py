"""How long things may take, so that the limits of one run's parts add up to less than the run's own.

The DAGs take their limits from here and `tests/security/control/test_limits_add_up.py` sums them. A job's time goes by
its work: images at the rate of the suite's last record, times four, and an hour at least. `ASSAY_RUN_HOURS` (24)
stretches all of it, the most that one try may take too, for sets of images that take longer. A try that is cut off but
made progress is followed by another one within the run (`timeouts.py`), so only hangs are counted here.
"""

import os
from datetime import timedelta

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import objects, records

RUN = timedelta(hours=max(1.0, float(os.environ.get("ASSAY_RUN_HOURS", "24"))))
PASS = 0.95 * RUN  # of the router, before the next night's
CHECKPOINT = RUN / 8  # an upload under way
OUTAGE = timedelta(hours=2)  # that a wait bears
RAY = timedelta(minutes=15) + OUTAGE
GOLDEN = timedelta(minutes=10)
JOBS = {"preprocess": RUN / 12, "caption": RUN / 8, "evaluate": RUN / 12, "audit": RUN / 12}  # a try, at most
TRIES_AFTER_TIMEOUT = 1  # of a job that makes nothing
AUDIT_RUN = RUN / 2

MARGIN = 4  # times what the work should take
LEAST = timedelta(hours=1)  # engines start, nodes come up, weights are fetched
RATES = {"preprocess": 2.0, "caption": 2.0, "evaluate": 2.0}  # images a second, of a suite without a record
LARGEST_MANIFEST = 64 * 2**20


def job_time(stage: str, spec: Spec, at_most: timedelta) -> timedelta:
    """How long one try of the stage's job may take, by the number of images where that is known already."""
    images = _images(stage, spec)
    if images is None:
        return at_most
    work = timedelta(seconds=min(MARGIN * images / _rate(stage, spec), at_most.total_seconds()))
    return min(LEAST + work, at_most)


def _images(stage: str, spec: Spec) -> int | None:
    if stage == "audit":
        return spec.suite.engine.audit
    if stage == "preprocess":
        return spec.suite.dataset.limit
    try:
        return _manifest_rows(f"{spec.golden_uri}/manifest.json")
    except Exception:  # a manifest that is missing or odd is for the job to judge, not for its time
        return spec.suite.dataset.limit


def _manifest_rows(uri: str) -> int:
    return Manifest.model_validate_json(objects.read(uri, at_most=LARGEST_MANIFEST)).rows_out


def _rate(stage: str, spec: Spec) -> float:
    """Images a second, of the suite's newest record."""
    default = RATES.get(stage, RATES["caption"])
    try:
        newest = records.published(spec.root, spec.suite.name)[-1]
        record = records.read(newest.run_uri(spec.root))
        images = record.images["read" if stage == "preprocess" else "captioned"]
        seconds = sum(record.seconds["caption" if stage == "audit" else stage].values())
        return images / seconds if images > 0 and seconds > 0 else default
    except Exception:  # no record yet, or an odd one
        return default
