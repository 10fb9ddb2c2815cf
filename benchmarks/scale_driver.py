"""Measures the driver of a captions job alone, without Ray and without an engine, by the number of images.

    .assay/data/bin/python -m benchmarks.scale driver --images 10000 100000 1000000

`benchmarks.scale` calls `measure_drivers`, which runs this module once per number of images. NO MODEL ANSWERS: the
answers are made in the driver's own process, in the form of a warm engine's. So the seconds contain their making.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.evaluate import CHECKPOINT, PART_ROWS
from ray_jobs import caption
from ray_jobs.checkpoints import inspect
from ray_jobs.contract.artifacts import Part
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.engine.client.stream import PartStream
from ray_jobs.engine.protocol import AnswerBlock, EngineReport
from ray_jobs.golden import build_part
from ray_jobs.storage import manifests, objects, parts, specs

IMAGE_BYTES = 400
TEXT = "no model answered: image {row} of {part}"


def measure_drivers(counts: list[int], work: Path) -> None:
    print("| images | parts | driver CPU s | peak memory, MB | parts read back | MB read | manifest, KB |")
    print("| --- " * 7 + "|")
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="assay-benchmark-", dir=work) as folder:
            spec = write_golden(folder, count)
            command = [sys.executable, "-m", "benchmarks.scale_driver", "--spec", spec.uri]
            cells = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            size = Path(manifests.uri_of_manifest(spec.captions_uri)).stat().st_size / 1000
            print(f"| {count} | {-(-count // PART_ROWS)} | {cells} | {size:.0f} |", flush=True)


def write_golden(folder: str, count: int) -> Spec:
    """Write a golden set of this many images, none of which is a picture. Returns the spec of its captions."""
    suite = Suite.model_validate({"name": "benchmark", "dataset": {"source": "/synthetic"}})
    checkpoint = inspect.resolve(str(CHECKPOINT))
    spec = Spec(root=f"{folder}/root", suite=suite, checkpoint=checkpoint, source_revision=str(count))
    written: list[Part] = []
    for number, first in enumerate(range(0, count, PART_ROWS)):
        rows = range(first, min(first + PART_ROWS, count))
        images = pa.array([row.to_bytes(4, "big") * (IMAGE_BYTES // 4) for row in rows])
        columns = {"image_id": pa.array([f"{row:07d}.jpg" for row in rows]), "image": images}
        filled = [columns.get(field.name, pa.nulls(len(rows), field.type)) for field in build_part.SCHEMA]
        table = pa.table(filled, schema=build_part.SCHEMA)
        data, name = parts.encode(table, {"lost": {}}), manifests.name_of_part(number)
        file = Path(manifests.uri_of_part(spec.golden_uri, name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        written.append(parts.describe(name, data))
    manifests.commit(spec.golden_uri, manifests.build_manifest("golden", spec.golden_id, written, count, {}, {}))
    objects.write(spec.uri, spec.model_dump_json().encode())
    return spec


def stream_made_answers(
    checkpoint: Any, engine: Any, pending: Mapping[str, range], *_: Any, began: float = 0.0, **__: Any
) -> PartStream:
    """Takes the place of `stream_parts`."""

    def blocks() -> Iterator[AnswerBlock]:
        for part, rows in pending.items():
            now = time.time()
            answers = [
                {
                    "key": f"{part}/{row}", "text": TEXT.format(row=row, part=part), "finish_reason": "stop",
                    "prompt_tokens": 300, "tokens": 12, "arrived": now, "finished": now, "failure": None,
                    "detail": None,
                }
                for row in rows
            ]  # fmt: skip
            yield AnswerBlock(answers, EngineReport(kind="warm", reason="no model answers"))

    return PartStream(blocks(), {part: len(rows) for part, rows in pending.items()}, began, whole_parts=True)


def run_driver(spec: Spec) -> str:
    """Caption in this process. Returns the cells of its row: CPU seconds, peak memory, parts and MB that it read."""
    reads: list[int] = []

    def count(read: Callable[..., bytes]) -> Callable[..., bytes]:
        def read_and_count(uri: str, *arguments: Any, **options: Any) -> bytes:
            data = read(uri, *arguments, **options)
            if uri.endswith(".parquet"):
                reads.append(len(data))
            return data

        return read_and_count

    objects.read = count(objects.read)
    caption.stream_parts = stream_made_answers  # type: ignore[assignment, attr-defined]
    caption.probe = lambda *_, **__: None  # type: ignore[attr-defined]
    before = resource.getrusage(resource.RUSAGE_SELF)
    caption.caption(spec)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{cpu:.1f} | {after.ru_maxrss / 1024:.0f} | {len(reads)} | {sum(reads) / 1e6:.0f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_driver")
    parser.add_argument("--spec", required=True)
    print(run_driver(specs.load_spec(parser.parse_args().spec)))
