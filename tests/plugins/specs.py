"""Specs, manifests, records and small checkpoints for the tests."""

import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray_jobs.contract.artifacts import Failure, Manifest, Record, Verdict
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.storage import audits, objects


def make_spec(root: Path, force: str | None = None, fingerprint: str = "f" * 16, write: bool = True) -> Spec:
    suite = Suite.model_validate({"name": "small", "dataset": {"source": "/data/images"}})
    checkpoint = Checkpoint(uri="/models/step-1", name="step-1", fingerprint=fingerprint)
    spec = Spec(root=str(root), suite=suite, checkpoint=checkpoint, source_revision="r1", force=force)
    if write:
        objects.write(spec.uri, spec.model_dump_json().encode())
    return spec


def write_failure(spec: Spec, stage: str, kind: Any, message: str, failed_at: datetime | None = None) -> None:
    failure = Failure(stage=stage, kind=kind, message=message, at=failed_at or datetime.now(UTC))
    objects.write(f"{spec.run_uri}/failure.json", failure.model_dump_json().encode())


def make_manifest(rows_in: int = 3, rows_out: int = 3) -> dict[str, Any]:
    golden_manifest = Manifest(stage="golden", id="g", rows_in=3, rows_out=3, parts=(), created_at=datetime.now(UTC))
    return golden_manifest.model_dump(mode="json") | {"rows_in": rows_in, "rows_out": rows_out}


def write_captions_manifest(spec: Spec, swapped: bool = True) -> None:
    """Write the manifest of the spec's captions."""
    sums: dict[str, Any] = {"rows_in": 3, "rows_out": 3, "parts": (), "created_at": datetime.now(UTC)}
    captions_manifest = Manifest(stage="captions", id=spec.caption_id, details={"engine": {"swapped": swapped}}, **sums)
    objects.write(f"{spec.captions_uri}/manifest.json", captions_manifest.model_dump_json().encode())


def write_audit(spec: Spec, **counts: int) -> None:
    """Write an audit of three of the spec's captions."""
    subject: dict[str, Any] = {"caption_id": spec.caption_id, "checkpoint": spec.checkpoint}
    audits.commit(spec.captions_uri, audits.Audit(**subject, images=3, **counts, created_at=datetime.now(UTC)))


def make_record(spec: Spec, outcome: Any = "PASS") -> Record:
    return Record(
        run_id=spec.run_id,
        run_uri=spec.run_uri,
        scoring_id=spec.scoring_id,
        series_id=spec.series_id,
        golden_id=spec.golden_id,
        caption_id=spec.caption_id,
        suite=spec.suite.name,
        checkpoint=spec.checkpoint,
        verdict=Verdict(outcome=outcome, reason="as told", baseline=None, alpha=0.0027),
        metrics={},
        images={},
        seconds={},
        versions={},
        published_at=datetime.now(UTC),
    )


def write_checkpoint(folder: Path, data: bytes = b"weights!") -> Path:
    """Write a whole checkpoint with one shard; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["Tiny"]}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(_shard(data))
    return folder


def write_suite(folder: Path, file: str = "small", name: str | None = None) -> str:
    """Write a suite file whose `name` is the file's unless given; returns the folder of suites, for ASSAY_SUITES."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{file}.yaml").write_text(f"name: {name or file}\ndataset: {{source: /data/images}}\n")
    return str(folder)


def write_adapter(folder: Path, base: str, data: bytes = b"adapted!") -> Path:
    """Write a folder that is a LoRA adapter to all code that does not open its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(_shard(data))
    return folder


def _shard(data: bytes) -> bytes:
    header = json.dumps({"a": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data
