"""Builds what the tests need: specs, records, tiny checkpoints and images, valid until a test changes one thing."""

import io
import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from ray_jobs.contract.artifacts import Record, Verdict
from ray_jobs.contract.spec import Baseline, Checkpoint, Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.storage import objects

SUITE: dict[str, Any] = {"name": "small", "dataset": {"source": "/data/images"}}


def with_value(original: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the value at a dotted path replaced. Missing mappings on the way are created."""
    key, _, rest = path.partition(".")
    return original | {key: with_value(original.get(key) or {}, rest, value) if rest else value}


def make_suite(**settings: Any) -> Suite:
    """The small suite, with settings given by dotted path; two underscores stand for a dot."""
    raw = SUITE
    for path, value in settings.items():
        raw = with_value(raw, path.replace("__", "."), value)
    return Suite.model_validate(raw)


def make_spec(root: str = "/root", fingerprint: str = "f" * 16, called: str = "step-1", **settings: Any) -> Spec:
    parsed_suite = make_suite(**settings)
    judge = Checkpoint(uri="/models/judge", name="judge", fingerprint="j" * 16) if parsed_suite.judge.model else None
    checkpoint = Checkpoint(uri=f"/models/{called}", name=called, fingerprint=fingerprint)
    return Spec(root=root, suite=parsed_suite, checkpoint=checkpoint, judge=judge, source_revision="r1")


def make_record(
    made_of: Spec, outcome: Any = "PASS", published_at: datetime | None = None, reason: str = "as told"
) -> Record:
    return Record(
        run_id=made_of.run_id,
        run_uri=made_of.run_uri,
        scoring_id=made_of.scoring_id,
        series_id=made_of.series_id,
        golden_id=made_of.golden_id,
        caption_id=made_of.caption_id,
        suite=made_of.suite.name,
        checkpoint=made_of.checkpoint,
        verdict=Verdict(outcome=outcome, reason=reason, baseline=made_of.baseline, alpha=0.0027),
        metrics={},
        images={"read": 1, "rejected": 0, "captioned": 1, "failed": 0, "scored": 1},
        seconds={},
        versions={},
        published_at=published_at or datetime.now(UTC),
    )


def make_baseline(made_of: Spec) -> Baseline:
    return Baseline(
        run_id=made_of.run_id,
        run_uri=made_of.run_uri,
        caption_id=made_of.caption_id,
        checkpoint=made_of.checkpoint,
    )


def encode_shard(tensors: dict[str, bytes]) -> bytes:
    """A safetensors file of byte tensors."""
    header, offset = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def checkpoint_files() -> dict[str, bytes]:
    """A complete checkpoint of two shards, as small as possible."""
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    return {
        "config.json": b'{"architectures": ["Tiny"]}',
        "tokenizer.json": b"{}",
        "model.safetensors.index.json": json.dumps({"weight_map": {"a": names[0], "b": names[1]}}).encode(),
        names[0]: encode_shard({"a": bytes(range(100))}),
        names[1]: encode_shard({"b": bytes(range(100, 200))}),
    }


def upload(uri: str, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        objects.write(f"{uri}/{name}", data)
    return uri


def draw_picture(seed: int = 0, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A smooth picture, different for each seed."""
    width, height = size
    ramp = [((x * 3 + seed * 37) % 256, (y * 5 + seed * 11) % 256, (x + y + seed) % 256)
            for y in range(height) for x in range(width)]  # fmt: skip
    image = Image.new("RGB", size)
    image.putdata(ramp)
    return image


def encode_image(image: Image.Image, form: str = "PNG", **settings: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **settings)
    return sink.getvalue()


def write_pictures(path: Path, count: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (path / f"{number:03d}.png").write_bytes(encode_image(draw_picture(number)))
    return path


def list_cached(cache: Path) -> list[str]:
    """The names in a node's cache of checkpoints, without its locks."""
    return sorted(path.name for path in cache.iterdir() if path.name != ".locks")
