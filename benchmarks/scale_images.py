"""Measures golden sets and captions by their number of images: seconds, and the peak memory of each process.

`benchmarks.scale images` calls this. The images are tiny, so that the cost per image and per part is Assay's own. The
captions come from `benchmarks.stand_in_engine`, which has no model.
"""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import yaml

from benchmarks.command_cost import Cost, measure_command
from benchmarks.pictures import write_jpegs
from ray_jobs.contract.spec import Spec
from ray_jobs.plan import plan
from ray_jobs.storage import manifests

CHECKPOINT = Path(__file__).parent.parent / "demo" / "checkpoints" / "step-0800"
CLUSTER = {"RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
STAGES = {"golden set": "ray_jobs.preprocess", "captions": "benchmarks.stand_in_engine"}


def measure_images(counts: list[int], part_rows: int, work: Path) -> None:
    costs: dict[str, list[Cost]] = {stage: [] for stage in STAGES}
    sizes: list[str] = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="assay-benchmark-", dir=work) as folder:
            spec = _plan_run(Path(folder), count, part_rows)
            for stage, module in STAGES.items():
                print(f"{datetime.now(UTC):%H:%M:%S} {stage} of {count} images", file=sys.stderr, flush=True)
                costs[stage].append(measure_command([sys.executable, "-m", module, "--spec", spec.uri], CLUSTER))
                print("\n".join(costs[stage][-1].output.splitlines()[-8:]), file=sys.stderr, flush=True)
            sizes.append(_describe_sizes(spec))
    for stage, of_stage in costs.items():
        print(f"\n{stage}: peak memory in MB of one process of each kind, without shared pages\n")
        _print_costs(counts, of_stage)
    print("\n| images | parts | golden manifest, KB | captions manifest, KB |\n| --- | --- | --- | --- |")
    print("\n".join(sizes))


def _plan_run(work: Path, count: int, part_rows: int) -> Spec:
    suite = {
        "name": "benchmark",
        "dataset": {"source": str(write_jpegs(work / "images", count, 64, 48, 80))},
        "preprocess": {"part_rows": part_rows},
        "caption": {"prompt": "describe the image", "max_tokens": 32},
        "engine": {"max_model_len": 512, "max_num_seqs": 64},
    }
    (work / "suite.yaml").write_text(yaml.safe_dump(suite))
    return plan(str(work / "root"), str(work / "suite.yaml"), str(CHECKPOINT), by_hand=True)


def _print_costs(counts: list[int], costs: list[Cost]) -> None:
    kinds = [kind for kind in sorted(costs[-1].memory) if kind]
    columns = ["images", "wall s", "CPU s", "driver CPU s", "CPU s for 1000 more", "all processes", *kinds]
    print(f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|")
    for number, (count, cost) in enumerate(zip(counts, costs, strict=True)):
        increase = ""
        if number:
            more = (cost.cpu - costs[number - 1].cpu) / (count - counts[number - 1]) * 1000
            increase = f"{more:.3f}"
        memory_cells = " | ".join(f"{cost.memory[kind] / 1e6:.0f}" for kind in kinds)
        seconds = f"{cost.wall:.1f} | {cost.cpu:.1f} | {cost.cpu_of['driver']:.1f}"
        print(f"| {count} | {seconds} | {increase} | {cost.together / 1e6:.0f} | {memory_cells} |", flush=True)


def _describe_sizes(spec: Spec) -> str:
    golden = manifests.require_manifest(spec.golden_uri, "preprocess")
    files = [Path(manifests.uri_of_manifest(uri)).stat().st_size / 1e3 for uri in (spec.golden_uri, spec.captions_uri)]
    return f"| {golden.rows_out} | {len(golden.parts)} | {files[0]:.0f} | {files[1]:.0f} |"
