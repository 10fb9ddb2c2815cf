"""Makes a storage root with two synthetic runs over one golden set, in parts as the jobs write them.

`benchmarks.pages` calls it in the environment of the control plane, so DuckDB writes the Parquet files. Every image is
the same tiny PNG; captions differ, and so do the scores of 20 metrics. The records are those of a real run of the demo
(tests/corpus), with other ids and numbers of images.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from ray_jobs.contract.artifacts import Manifest, Part, Record, Scores
from ray_jobs.storage import index

duckdb: Any = import_module("duckdb")

REPO = Path(__file__).parents[1]
GOLDEN = "0123456789abcdef"
PART_ROWS = 256  # the default of a suite
PNG = (
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000a49444154789c63000100000500010d0a2db40000000049454e44ae426082"
)
IMAGES = "SELECT n, 'folder/image-' || lpad(n::VARCHAR, 8, '0') || '.png' AS id FROM range({first}, {last}) AS r(n)"
SHAPES = {
    "golden": """
        i.id AS image_id, from_hex('{png}') AS image, 1 AS width, 1 AS height, 'class ' || (i.n % 1000) AS label,
        ['a photo of thing ' || (i.n % 977), 'thing ' || (i.n % 977) || ' outdoors'] AS "references"
    """,
    "captions": """
        i.id AS image_id,
        'a photo of thing ' || (i.n % 977) || ' in the style of ' || (hash(i.n + {seed}) % 89) AS caption,
        CASE WHEN i.n % 500 = {seed} THEN 'length' ELSE 'stop' END AS finish_reason,
        12 AS tokens, NULL::VARCHAR AS failure, NULL::VARCHAR AS detail
    """,
    "scores": """
        i.id AS image_id, 'class ' || (i.n % 1000) AS label, true AS "references", NULL::VARCHAR AS failure,
        'the caption names the thing, and its place is right' AS rationale, {metrics}
    """,
}


def make_root(root: Path, rows: int) -> None:
    """Write the root with two runs. The first is the baseline of no run, so pages compare them on their own."""
    template = next((REPO / "tests" / "corpus" / "e0c6db2" / "runs").glob("step-0809*/*"))
    record = json.loads((template / "record.json").read_text())
    scores = json.loads((template / "scores.json").read_text())
    metrics = [name for name in record["metrics"] if name != "label_hit"]
    golden = _write_stage(root, "golden", GOLDEN, rows, 0, metrics)
    (root / "golden" / GOLDEN / "manifest.json").write_text(golden.model_dump_json())
    for seed in (1, 2):
        run_id, folder = f"{seed}" * 16, f"step-{seed}00-{seed:08d}"
        _write_stage(root, "captions", run_id, rows, seed, metrics)
        of_scores = _write_stage(root, "scores", run_id, rows, seed, metrics)
        run = root / "runs" / folder / run_id
        run.mkdir(parents=True)
        ids = {"run_id": run_id, "run_uri": str(run), "golden_id": GOLDEN, "caption_id": run_id}
        counts = {"read": rows, "rejected": 0, "captioned": rows, "failed": 0, "scored": rows}
        changed = record | ids | {"images": counts, "verdict": record["verdict"] | {"baseline": None}}
        changed["checkpoint"] = record["checkpoint"] | {"name": f"step-{seed}00", "fingerprint": f"{seed:08d}" * 2}
        published = Record.model_validate(changed)
        (run / "record.json").write_text(published.model_dump_json())
        stored = scores | {"run_id": run_id, "images": rows, "scored": rows}
        stored |= {"manifest": of_scores.model_dump(mode="json"), "captions": None}
        (run / "scores.json").write_text(Scores.model_validate(stored).model_dump_json())
        index.add(str(root), [published])


def _write_stage(root: Path, stage: str, content_id: str, rows: int, seed: int, metrics: list[str]) -> Manifest:
    folder = root / stage / content_id / "parts"
    folder.mkdir(parents=True)
    values = ", ".join(
        f'(hash(i.n * 31 + {seed + place}) % 101) / 100.0::DOUBLE AS "{name}"' for place, name in enumerate(metrics)
    )
    shape = SHAPES[stage].format(seed=seed, png=PNG, metrics=values)
    parts = []
    for number, first in enumerate(range(0, rows, PART_ROWS)):
        last, name = min(rows, first + PART_ROWS), f"part-{number:05d}"
        images = IMAGES.format(first=first, last=last)
        target = f"'{folder / name}.parquet' (FORMAT parquet, COMPRESSION zstd)"
        duckdb.execute(f"COPY (SELECT {shape} FROM ({images}) AS i) TO {target}")
        parts.append(Part(name=name, rows=last - first, blake3=f"{number:064x}"))
    manifest = {"stage": stage, "id": content_id, "rows_in": rows, "rows_out": rows, "parts": parts}
    return Manifest.model_validate(manifest | {"created_at": "2026-12-01T00:00:00Z"})
