"""Parts that differ from their manifest: one line names them and the remedy before a row is used."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import lying_s3
import pyarrow as pa
import pytest

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import manifests, objects, parts, s3_client

TABLE = pa.table({"image_id": [f"image-{n}" for n in range(50)], "caption": ["a cat"] * 50})
OTHER = TABLE.set_column(1, "caption", pa.array(["a dog"] * 50))


@pytest.fixture(params=["directory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    if request.param == "directory":
        yield str(tmp_path)
        return
    with lying_s3.running() as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(s3_client._cache, "owner", None)
        yield "s3://bucket/root"


def complete(uri: str, stage: str = "captions") -> Manifest:
    parts_written = [
        parts.write(uri, name, TABLE.slice(10 * n), {}) for n, name in enumerate(("part-00000", "part-00001"))
    ]
    rows = sum(part.rows for part in parts_written)
    return manifests.commit(uri, manifests.build_manifest(stage, "x", parts_written, rows, {}, {}))  # type: ignore[arg-type]


def part(uri: str, number: int = 0) -> str:
    return manifests.uri_of_part(uri, f"part-0000{number}")


def flip(uri: str) -> None:
    data = bytearray(objects.read(part(uri)))
    data[len(data) // 3] ^= 1
    objects.write(part(uri), bytes(data))


FAULTS: dict[str, Callable[[str], object]] = {
    "replaced": lambda uri: objects.write(part(uri), parts.encode(OTHER, {})),
    "of the same rows, with another footer": lambda uri: objects.write(part(uri), parts.encode(TABLE, {"lost": {}})),
    "cut short": lambda uri: objects.write(part(uri), objects.read(part(uri))[:-100]),
    "longer": lambda uri: objects.write(part(uri), objects.read(part(uri)) + b"x"),
    "empty": lambda uri: objects.write(part(uri), b""),
    "swapped with another": lambda uri: objects.write(part(uri), objects.read(part(uri, 1))),
    "one bit": flip,
    "deleted": lambda uri: objects.delete(part(uri)),
}
READERS: dict[str, Callable[[str], pa.Table]] = {
    "read": lambda uri: parts.read(uri, "part-00000"),
    "columns": lambda uri: parts.read_columns(uri, "part-00000", ["image_id"]),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("reader", READERS)
def test_a_part_that_is_not_its_manifests_is_refused(root: str, fault: str, reader: str) -> None:
    complete(root)
    READERS[reader](root)  # so that a sum which is kept in the process is not trusted
    FAULTS[fault](root)
    with pytest.raises(InputError, match=rf"^{re.escape(part(root))}: .*; restore it[^\n]*$"):
        READERS[reader](root)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_golden_part_in_a_directory_is_compared_though_its_images_are_not_wanted(tmp_path: Path, fault: str) -> None:
    complete(str(tmp_path), "golden")
    FAULTS[fault](str(tmp_path))
    with pytest.raises(InputError, match="; restore it"):
        parts.read_columns(str(tmp_path), "part-00000", ["image_id"])


def test_a_part_replaced_meanwhile_is_a_retryable_error(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = complete(root)
    FAULTS["replaced"](root)
    newer = manifest.model_copy(update={"details": {"made": "anew"}})
    monkeypatch.setattr(parts, "load_manifest", lambda _: newer)
    monkeypatch.setattr(parts, "_load_current_manifest", lambda _: manifest)
    with pytest.raises(RetryableError, match="made anew while it was read"):
        parts.read(root, "part-00000")


def test_a_stage_that_was_begun_and_is_not_complete_is_trouble(root: str) -> None:
    with pytest.raises(InputError, match="run it first"):
        manifests.require_manifest(root, "caption")
    parts.write(root, "part-00000", TABLE, {})
    with pytest.raises(RetryableError, match="not complete yet"):
        manifests.require_manifest(root, "caption")


def test_a_moved_stage_is_accepted(tmp_path: Path) -> None:
    complete(str(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert parts.read(str(tmp_path / "b"), "part-00001").num_rows == 40
