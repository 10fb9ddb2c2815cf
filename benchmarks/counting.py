"""Compares three ways to count the n-grams of a golden set: Assay's sorted runs, pyarrow, and DuckDB.

    python -m benchmarks.counting [--images 320000]    # DuckDB only if it is installed

An image has five references of 11 words each, drawn by Zipf's law from 30,000 words. Each method runs in its own
process. The process reads the same files of n-grams, and writes a sorted table of those that occur twice or more.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ray_jobs.metrics.text import frequencies
from ray_jobs.metrics.text.ngrams import ORDERS, mix_bits, number_ngrams

GROUP, REFERENCES, WORDS, VOCABULARY = 8192, 5, 11, 30_000
RANGE_ENTRIES, BUCKETS = 12_000_000, 256  # as in metrics.text.corpus_counts


def draw(folder: Path, images: int) -> None:
    """Write a file of n-grams for each group of images."""
    random = np.random.default_rng(0)
    weights = 1 / np.arange(1, VOCABULARY + 1)
    names = mix_bits(np.arange(1, VOCABULARY + 1, dtype=np.uint64))
    for number, first in enumerate(range(0, images, GROUP)):
        texts = min(GROUP, images - first) * REFERENCES
        terms = names[random.choice(VOCABULARY, texts * WORDS, p=weights / weights.sum())]
        lengths = np.full(texts, WORDS)
        grams = [number_ngrams(terms, lengths, order)[0] for order in range(1, ORDERS + 1)]
        np.concatenate(grams).tofile(folder / f"{number:03}.grams")


def count_by_runs(files: list[Path], target: Path) -> None:
    runs: list[tuple[Path, np.ndarray]] = []
    for file in files:
        distinct, counts = frequencies.count_numbers(np.fromfile(file, np.uint64))
        run = file.with_suffix(".run")
        run.write_bytes(frequencies.encode_counts(distinct, counts))
        runs.append(
            (run, np.append(np.searchsorted(distinct, frequencies.compute_range_starts(BUCKETS)), len(distinct)))
        )
    ranges = 1 << max(0, -(-int(sum(cuts[-1] for _, cuts in runs)) // RANGE_ENTRIES) - 1).bit_length()
    width = BUCKETS // ranges
    for number in range(ranges):
        pieces = [read_run(run, cuts[number * width], cuts[(number + 1) * width], cuts[-1]) for run, cuts in runs]
        (target / f"{number}").write_bytes(frequencies.encode_counts(*frequencies.sum_counts(pieces, least=2)))


def read_run(run: Path, low: int, high: int, entries: int) -> tuple[np.ndarray, np.ndarray]:
    distinct = np.fromfile(run, np.uint64, high - low, offset=8 * low)
    return distinct, np.fromfile(run, np.uint32, high - low, offset=8 * entries + 4 * low)


def count_by_arrow(files: list[Path], target: Path) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    grams = pa.chunked_array([pa.array(np.fromfile(file, np.uint64)) for file in files])
    table = pa.table({"gram": grams}).group_by("gram").aggregate([("gram", "count")])
    table = table.filter(pc.greater_equal(table["gram_count"], 2)).sort_by("gram")
    (target / "0").write_bytes(frequencies.encode_counts(table["gram"].to_numpy(), table["gram_count"].to_numpy()))


def count_by_duckdb(files: list[Path], target: Path) -> None:
    import duckdb  # type: ignore[import-not-found]
    import pyarrow as pa

    database = duckdb.connect(str(target / "spill.db"), config={"memory_limit": "2GB", "threads": 1})
    database.execute("CREATE TABLE grams (gram UBIGINT)")
    for file in files:
        database.register("arrow", pa.table({"gram": np.fromfile(file, np.uint64)}))
        database.execute("INSERT INTO grams SELECT gram FROM arrow")
        database.unregister("arrow")
    query = "SELECT gram, count(*)::UINTEGER n FROM grams GROUP BY gram HAVING n >= 2 ORDER BY gram"
    counts_by_gram = database.execute(query).fetchnumpy()
    (target / "0").write_bytes(frequencies.encode_counts(counts_by_gram["gram"], counts_by_gram["n"]))


METHODS: dict[str, Callable[[list[Path], Path], None]] = {
    "runs": count_by_runs,
    "pyarrow": count_by_arrow,
    "DuckDB": count_by_duckdb,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=320_000)
    parser.add_argument("--way", choices=METHODS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.way:
        target = arguments.folder / arguments.way
        target.mkdir()
        started, files = time.process_time(), sorted(arguments.folder.glob("*.grams"))
        METHODS[arguments.way](files, target)
        seconds, most = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        entries = (
            sum(file.stat().st_size for file in target.iterdir() if file.suffix != ".db") // frequencies.ENTRY_BYTES
        )
        print(f"| {arguments.way} | {seconds:.1f} | {most / 2**20:.2f} | {entries:,} |", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), arguments.images)
        print("| way | CPU seconds | most memory, GB | entries |\n| --- | --- | --- | --- |", flush=True)
        for method in METHODS:
            command = [sys.executable, "-m", "benchmarks.counting", "--way", method, "--folder", folder]
            if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode:
                print(f"| {method} | failed | | |", flush=True)


if __name__ == "__main__":
    main()
