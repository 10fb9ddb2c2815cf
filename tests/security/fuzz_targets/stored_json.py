"""JSON that lies in storage, written by an older, a newer or somebody else's Assay: read as what it is, or refused."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.contract.artifacts import Failure, Manifest, Record, Verdict
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import index, manifests, objects, records, specs

PLACE = tempfile.mkdtemp(prefix="assay-stored-")
AT = datetime(2026, 11, 30, tzinfo=UTC)
KNOWN = (InputError, RetryableError, Incomplete, FileNotFoundError)


def _spec() -> Spec:
    suite = Suite.model_validate({"name": "small", "dataset": {"source": "/data/images"}})
    checkpoint = Checkpoint(uri="/models/step-1", name="step-1", fingerprint="f" * 16)
    return Spec(root=PLACE, suite=suite, checkpoint=checkpoint, source_revision="r1", synonyms={"cat": ("tom",)})


def _record(spec: Spec) -> Record:
    verdict = Verdict(outcome="PASS", reason="as told", baseline=None, alpha=0.0027)
    ids = {name: getattr(spec, name) for name in ("run_id", "run_uri", "scoring_id", "series_id", "golden_id")}
    return Record(
        **ids, caption_id=spec.caption_id, suite="small", checkpoint=spec.checkpoint, verdict=verdict, metrics={},
        images={}, seconds={}, versions={}, published_at=AT,
    )  # fmt: skip


def SEEDS() -> list[bytes]:
    spec = _spec()
    record = _record(spec)
    part = {"name": "part-00000", "rows": 3, "blake3": "0" * 64}
    manifest = Manifest(stage="golden", id="g", rows_in=3, rows_out=3, parts=(part,), created_at=AT)
    failure = Failure(stage="caption", kind="trouble", message="no", at=AT)
    models = [spec, record, manifest, failure]
    texts = [model.model_dump_json().encode() for model in models]
    records.publish(PLACE, record)
    index_folder = Path(PLACE, "index")
    texts += [file.read_bytes() for file in sorted(index_folder.rglob("*.json"))]
    odd = [b"", b"null", b"[]", b"{}", b'"x"', b"[" * 5000, b'{"schema": 99}', b"\xff\xfe", b'{"a": 1e999}']
    return texts + odd


def _write(name: str, data: bytes) -> str:
    file = Path(PLACE, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(file)
    return str(file)


def _expect(call: object, *arguments: object) -> None:
    try:
        call(*arguments)  # type: ignore[operator]
    except ValidationError:
        if call is not records.read:  # whose callers say what became of the record
            raise
    except KNOWN as error:
        line = str(error)
        assert "\n" not in line, line


def try_input(data: bytes) -> None:
    _expect(specs.load_spec, _write("spec.json", data))
    _write("run/record.json", data)
    _expect(records.read, str(Path(PLACE, "run")))
    _write("golden/g/manifest.json", data)
    _expect(manifests.require_manifest, str(Path(PLACE, "golden", "g")), "preprocess")
    _write("index/small/index.json", data)
    _expect(index.load_complete, PLACE, "small")
    try:
        Failure.model_validate_json(data)
    except (ValueError, InputError):
        return
    objects.delete(_write("run/failure.json", data))
