"""Measures how time, memory and requests grow with the number of runs and of images; prints Markdown tables.

    .assay/data/bin/python -m benchmarks.scale runs                       # 100, 1,000 and 10,000 runs, on S3
    .assay/data/bin/python -m benchmarks.scale runs --folder /tmp/scale   # in a directory instead
    .assay/data/bin/python -m benchmarks.scale images                     # golden sets and captions
    .assay/data/bin/python -m benchmarks.scale images --images 10000 1000000
    .assay/data/bin/python -m benchmarks.scale driver                     # the captions' driver alone, to 1,000,000

`benchmarks.router` measures the router's passes, and `benchmarks.evaluate` measures the scoring.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.scale_driver import measure_drivers
from benchmarks.scale_images import measure_images
from benchmarks.scale_runs import measure_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    claims = parser.add_subparsers(dest="claim", required=True)
    runs = claims.add_parser("runs")
    runs.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    runs.add_argument("--folder", type=Path, help="a local directory instead of the S3 server")
    runs.add_argument("--publishes", type=int, default=40, help="publishes that follow each other")
    images = claims.add_parser("images")
    images.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 300_000])
    images.add_argument("--part-rows", type=int, default=256)
    images.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="a folder with some free GB")
    driver = claims.add_parser("driver")
    driver.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    driver.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="a folder with some free GB")
    arguments = parser.parse_args()
    if arguments.claim == "runs":
        measure_runs(arguments.runs, arguments.folder, arguments.publishes)
    elif arguments.claim == "driver":
        measure_drivers(arguments.images, arguments.work)
    else:
        measure_images(arguments.images, arguments.part_rows, arguments.work)


if __name__ == "__main__":
    main()
