"""Merges an adapter into its base; prints by how many KiB that raises the peak memory of this process.

python measure_merge.py BASE ADAPTER TARGET
"""

import resource
import sys
from pathlib import Path

import torch
import transformers.conversion_mapping
import transformers.core_model_loading  # noqa: F401  # both are loaded before, so that they do not count

from ray_jobs.checkpoints.lora_merge import merge

base, adapter, target = map(Path, sys.argv[1:])
target.mkdir()
torch.ones(512, 512) @ torch.ones(512, 512)  # what the library itself takes
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
merge(base, adapter, target, "checkpoint here")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
