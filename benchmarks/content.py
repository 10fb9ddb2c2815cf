"""Measures how long it takes to hash the content of a local data set, the first time and again.

python -m benchmarks.content --files 12000 --kilobytes 86
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from ray_jobs.storage import content_hashes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=12000)
    parser.add_argument("--kilobytes", type=int, default=86)
    arguments = parser.parse_args()
    content_hashes.SETTLED = -(10**18)  # treat the new files as settled, because nobody changes them
    with tempfile.TemporaryDirectory(prefix="assay-content-") as name:
        os.environ["ASSAY_CACHE"] = f"{name}/cache"
        folder, noise = Path(name, "files"), os.urandom(arguments.kilobytes * 1000)
        folder.mkdir()
        for number in range(arguments.files):
            (folder / str(number)).write_bytes(number.to_bytes(4) + noise)
        for pass_name in ("first", "again"):
            began, used = time.perf_counter(), time.process_time()
            with content_hashes.content_hashes() as hashes:
                for path in folder.iterdir():
                    hashes.of(path)
            wall, cpu = time.perf_counter() - began, time.process_time() - used
            size = arguments.files * arguments.kilobytes / 1e6
            print(f"{pass_name}: {arguments.files} files, {size:.2f} GB, {wall:.2f} s, {cpu:.2f} s CPU")


if __name__ == "__main__":
    main()
