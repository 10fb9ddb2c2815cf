"""Time limits of runs, waits and jobs. The limits of a run's tasks add up to less than the run's own limit.

The DAGs and the operators read them; `tests/security/control/test_limits_add_up.py` sums them. A job's limit is four
times the time that its images need at the rate of the suite's last record, and at least an hour. `ASSAY_RUN_HOURS` (24)
scales every limit, for sets of images that take longer. A job that was stopped but made progress is submitted again
within the run (`timeouts.py`), so these limits only have to cover jobs that hang.
"""

import os
from datetime import timedelta

from ray_jobs.contract.spec import Spec
from ray_jobs.storage import index, manifests, records

RUN = timedelta(hours=max(1.0, float(os.environ.get("ASSAY_RUN_HOURS", "24"))))
PASS = 0.95 * RUN  # of the router's run, which ends before the next night's pass
CHECKPOINT = RUN / 8  # the longest wait for an upload
OUTAGE = timedelta(hours=2)  # how much longer a wait lasts while a store or Ray does not answer
RAY = timedelta(minutes=15) + OUTAGE
GOLDEN = timedelta(minutes=10)
JOBS = {"preprocess": RUN / 12, "caption": RUN / 8, "evaluate": RUN / 12, "audit": RUN / 12}  # of one try, at most
TRIES_AFTER_TIMEOUT = 1  # more tries of a job that makes no progress
AUDIT_RUN = RUN / 2

SAFETY_FACTOR = 4  # the limit is this many times the expected time
MIN_JOB_TIME = timedelta(hours=1)  # engines start, nodes come up, weights are fetched
DEFAULT_RATES = {"preprocess": 2.0, "caption": 2.0, "evaluate": 2.0}  # images/s, for a suite without a record
MAX_MANIFEST_BYTES = 64 * 2**20


def limit_job_time(stage: str, spec: Spec, at_most: timedelta) -> timedelta:
    """How long one try of the stage's job may take: `at_most`, or less if the number of images is known."""
    images = _count_images(stage, spec)
    if images is None:
        return at_most
    work = timedelta(seconds=min(SAFETY_FACTOR * images / _find_rate(stage, spec), at_most.total_seconds()))
    return min(MIN_JOB_TIME + work, at_most)


def _count_images(stage: str, spec: Spec) -> int | None:
    if stage == "audit":
        return spec.suite.engine.audit
    if stage == "preprocess":
        return spec.suite.dataset.limit
    try:
        return manifests.require_manifest(spec.golden_uri, "preprocess", MAX_MANIFEST_BYTES).rows_out
    except Exception:  # the job reports a missing or damaged manifest
        return spec.suite.dataset.limit


def _find_rate(stage: str, spec: Spec) -> float:
    """Images per second of this stage in the suite's newest record, or a default."""
    default = DEFAULT_RATES.get(stage, DEFAULT_RATES["caption"])
    try:
        newest = index.list_entries(spec.root, spec.suite.name)[-1]
        record = records.read(newest.run_uri(spec.root))
        images = record.images["read" if stage == "preprocess" else "captioned"]
        seconds = sum(record.seconds["caption" if stage == "audit" else stage].values())
        return images / seconds if images > 0 and seconds > 0 else default
    except Exception:  # no record yet, or a damaged one
        return default
