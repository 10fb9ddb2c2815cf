"""Scores the captions of a spec on the Ray cluster, and prints the id of its own process."""

import os
import sys

from ray_jobs.job import frame
from ray_jobs.metrics.run import score_captions
from ray_jobs.storage.specs import load_spec

spec = load_spec(sys.argv[1])
frame.join_cluster(spec)
score_captions(spec, spec.caption_id)
print(os.getpid())
