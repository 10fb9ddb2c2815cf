"""Compares building golden sets with the usual methods, and with the limit; prints Markdown tables.

    .assay/data/bin/python -m benchmarks.preprocess throughput   # images per CPU second, four methods and the limit
    .assay/data/bin/python -m benchmarks.preprocess scale        # 20,000 to 200,000 small images: time and memory
    .assay/data/bin/python -m benchmarks.preprocess block        # a Hugging Face dataset of one block

Each method runs in its own process on all cores, with few images and with many. The rate is that of the images between
the two, so the cost of the start does not count (importing Ray takes seconds). Assay and the limit run in turn, ROUNDS
times each. Their ratio is the median over the rounds, because the speed of a shared machine changes.
"""

import argparse
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from benchmarks.command_cost import Cost, measure_command
from benchmarks.pictures import draw_photograph, write_jpegs
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.images.prepare import prepare
from ray_jobs.plan import plan

ROOT = Path(__file__).parent.parent
CHECKPOINT = ROOT / "demo" / "checkpoints" / "step-0800"
# Few, more and many images. The rivals get the middle number. Assay and the limit are close, so they get many.
SIZES = {(500, 375): (2000, 6000, 16000), (1280, 960): (900, 2500, 5000), (4000, 3000): (100, 300, 700)}
ROUNDS = 3
METHODS = {
    "ray": "Ray Data map, Pillow", "dataloader": "DataLoader, Pillow", "datasets": "datasets.map, Pillow",
    "ours": "Assay", "pool": "bare loop of Assay's decode, resize, encode, write",
}  # fmt: skip


def run_method(method: str, source: Path, work: Path, **sections: dict[str, object]) -> Cost:
    """The cost of one method for the source. Its output is deleted."""
    output = work / "output"
    try:
        if method != "ours":
            return measure_command([sys.executable, "-m", "benchmarks.image_rivals", method, str(source), str(output)])
        suite = {"name": "benchmark", "dataset": {"source": str(source)}, **sections}
        (work / "suite.yaml").write_text(yaml.safe_dump(suite))
        spec = plan(str(output), str(work / "suite.yaml"), str(CHECKPOINT), by_hand=True)
        return measure_command(
            [sys.executable, "-m", "ray_jobs.preprocess", "--spec", spec.uri],
            {"RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"},
        )
    finally:
        shutil.rmtree(output, ignore_errors=True)


def measure_throughput(work: Path, factor: float) -> None:
    print("| source | way | images per CPU-second | images/s | Assay is faster by |\n| --- | --- | --- | --- | --- |")
    limits = []
    for (width, height), counts in SIZES.items():
        few, increase, many = (int(count * factor) or 1 for count in counts)
        folders = {count: write_jpegs(work / str(count), count, width, height) for count in (few, increase, many)}
        rates: dict[str, list[tuple[float, float]]] = {method: [] for method in METHODS}
        for number in range(ROUNDS):
            for method in METHODS if number == 0 else ("ours", "pool"):
                most = many if method in ("ours", "pool") else increase
                start, whole = (run_method(method, folders[count], work) for count in (few, most))
                rates[method].append(((most - few) / (whole.cpu - start.cpu), (most - few) / (whole.wall - start.wall)))
        typical = {method: np.median(values, axis=0) for method, values in rates.items()}
        for method, name in METHODS.items():
            faster = f"{typical['ours'][0] / typical[method][0]:.2f}" if method not in ("ours", "pool") else ""
            print(f"| {width}x{height} | {name} | " + " | ".join(f"{rate:.1f}" for rate in typical[method]), end=" ")
            print(f"| {faster} |", flush=True)
        share = [ours[0] / bare[0] for ours, bare in zip(rates["ours"], rates["pool"], strict=True)]
        limits.append(f"| {width}x{height} | {np.median(share):.2f} | {min(share):.2f} to {max(share):.2f} |")
        for folder in folders.values():
            shutil.rmtree(folder)
    print(f"\n| source | images per CPU-second, Assay / bare loop, median of {ROUNDS} | all |\n| --- | --- | --- |")
    print("\n".join(limits), flush=True)
    print("\n| source | PSNR against full decode and Lanczos, mean and worst of 12, dB |\n| --- | --- |")
    for width, height in SIZES:
        values = [_psnr(draw_photograph(number, width, height)) for number in range(12)]
        print(f"| {width}x{height} | {np.mean(values):.1f}, {min(values):.1f} |", flush=True)


def _psnr(image: Image.Image) -> float:
    """The PSNR (dB, 8-bit values) of our golden pixels against a full decode with Lanczos."""
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=90)
    fast, full = (
        np.asarray(Image.open(io.BytesIO(prepare(sink.getvalue(), Preprocess(format="png", filter=method)).image)))
        for method in ("fast", "lanczos")
    )
    return float(10 * np.log10(255**2 / np.mean((fast.astype(float) - full) ** 2)))


def measure_scale(work: Path, factor: float) -> None:
    counts = [int(count * factor) for count in (20_000, 110_000, 200_000)]
    costs = []
    for count in counts:
        costs.append(run_method("ours", write_jpegs(work / "images", count, 64, 48, 80), work))
        shutil.rmtree(work / "images")
    kinds = [kind for kind in sorted(costs[-1].memory) if kind]
    print("| images | wall s | s for 1000 more | " + " | ".join(f"{kind}, MB" for kind in kinds) + " |")
    print("| --- " * (3 + len(kinds)) + "|")
    for number, (count, cost) in enumerate(zip(counts, costs, strict=True)):
        memory_cells = " | ".join(f"{cost.memory[kind] / 1e6:.0f}" for kind in kinds)
        increase = (cost.wall - costs[number - 1].wall) / (count - counts[number - 1]) * 1000 if number else 0
        print(f"| {count} | {cost.wall:.1f} | {f'{increase:.3f}' if number else ''} | {memory_cells} |", flush=True)


def measure_block(work: Path, factor: float) -> None:
    import datasets

    count = int(2000 * factor)
    files = sorted(write_jpegs(work / "files", count, 500, 375).iterdir())
    cells = {"image": [{"bytes": file.read_bytes(), "path": None} for file in files]}
    features = datasets.Features({"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
    datasets.Dataset.from_dict(cells, features=features).save_to_disk(work / "dataset", num_shards=1)
    print("| way | wall s | CPU s | busy cores |\n| --- | --- | --- | --- |")
    for name, method in (("ray.data.from_huggingface, map", "block"), ("Assay", "ours")):
        cost = run_method(method, work / "dataset", work)
        print(f"| {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.cpu / cost.wall:.2f} |", flush=True)


CLAIMS = {"throughput": measure_throughput, "scale": measure_scale, "block": measure_block}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preprocess")
    parser.add_argument("claim", choices=sorted(CLAIMS))
    parser.add_argument(
        "--factor", type=float, default=1.0, help="of the number of images; less is quicker and noisier"
    )
    parser.add_argument("--work", default=os.environ.get("TMPDIR", "/tmp"), help="a folder with some free GB")  # noqa: S108
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-", dir=arguments.work) as folder:
        CLAIMS[arguments.claim](Path(folder), arguments.factor)
