"""Prints by how many MiB each file raises the peak memory of this process, once every decoder is loaded.

python measure_memory.py FOLDER FILE...      the files of the folder are prepared first
"""

import sys
from pathlib import Path

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.sources.source import SourceImage


def peak_memory() -> int:
    """MiB of this process alone; `getrusage` would begin with the peak of the process that started it."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


usual, files = Path(sys.argv[1]), map(Path, sys.argv[2:])
for path in sorted(usual.iterdir()):
    prepare_row(SourceImage(path.name, None, path), Preprocess())
before = peak_memory()
for path in files:
    prepare_row(SourceImage(path.name, None, path), Preprocess())
    print(path.name, peak_memory() - before)
