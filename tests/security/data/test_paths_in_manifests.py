"""Paths in data sets that lead out of them: nothing there is read, and no error shows its content."""

import json
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden import build_part, previews, set_checks
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.images.prepare import Reject
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.open_source import open_source
from ray_jobs.sources.reading import allowed_places
from ray_jobs.sources.source import SourceImage
from ray_jobs.storage import manifests, objects, parts

CONTENT = "secret of the node"


def manifest(folder: Path, place: str) -> Path:
    (folder / "m.jsonl").write_text(json.dumps({"path": place}) + "\n")
    return folder / "m.jsonl"


def csv(folder: Path, place: str) -> Path:
    (folder / "m.csv").write_text(f'path\n"{place}"\n')
    return folder / "m.csv"


def parquet(folder: Path, place: str) -> Path:
    pq.write_table(pa.table({"path": [place]}), folder / "m.parquet")
    return folder / "m.parquet"


def struct(folder: Path, place: str) -> Path:
    cell = pa.array([{"bytes": None, "path": place}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": cell}), folder / "s.parquet")
    return folder / "s.parquet"


def arrow(folder: Path, place: str) -> Path:
    table = pa.table({"path": [place]})
    with pa.ipc.new_file(folder / "m.arrow", table.schema) as sink:
        sink.write_table(table)
    return folder / "m.arrow"


FORMATS: dict[str, Callable[[Path, str], Path]] = {
    "jsonl": manifest, "csv": csv, "parquet": parquet, "struct": struct, "arrow": arrow,
}  # fmt: skip


def row_of(file: Path) -> SourceImage:
    source = open_source(Dataset(source=str(file)))
    (row,) = source.read(list(source.list_images()))
    return row


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a manifest, beside files that it must not read."""
    (tmp_path / "set").mkdir()
    (tmp_path / "settle").mkdir()
    for path in (tmp_path / "secret.txt", tmp_path / "settle" / "x.png"):
        path.write_text(CONTENT)
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "set" / "folder").symlink_to(tmp_path)
    (tmp_path / "set" / "loop.png").symlink_to(tmp_path / "set" / "loop.png")
    os.mkfifo(tmp_path / "set" / "pipe.png")
    return tmp_path / "set"


@pytest.mark.parametrize(
    "place",
    [
        "/proc/self/environ", "/proc/self/mem", "/proc/1/environ", "/proc/self/fd/0", "/etc/passwd", "/dev/zero",
        "/dev/stdin", "/dev/urandom", "../secret.txt", "./../secret.txt", "x/../../secret.txt", "../settle/x.png",
        "{parent}/secret.txt", "{parent}/settle/x.png", "{home}/../secret.txt", "{home}//../secret.txt",
        "file:///etc/passwd", "file:///proc/self/environ", "file://localhost/etc/passwd", "FILE:///etc/passwd",
        "link.png", "folder/secret.txt", "pipe.png", "loop.png", "/", ".", "..", "folder", "nul\0.png",
        "s3://other/x.png", "gs://other/x.png", "ftp://h/x.png", "hdfs://h/x.png", "unix:///x", "~/.aws/credentials",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", FORMATS)
def test_a_place_outside_is_not_read(home: Path, form: str, place: str) -> None:
    if "\0" in place and form == "csv":
        place = "nul.png"
    row = row_of(FORMATS[form](home, place.format(parent=home.parent, home=home)))
    assert row.data is None
    assert row.file is None
    assert row.detail
    assert "\n" not in row.detail
    assert CONTENT not in row.detail


def test_what_the_deployment_allows_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SOURCES", str(home.parent / "settle"))
    assert row_of(manifest(home, "../settle/x.png")).file
    assert row_of(manifest(home, "../secret.txt")).file is None
    assert row_of(manifest(home, "link.png")).file is None


@pytest.mark.parametrize(
    "place", ["s3://b/sets/../x.png", "s3://b/settle/x.png", "s3://b/x.png", "s3://bb/sets/x", "s3://b/sets/%2e%2e/x",
              "/etc/passwd", "s3://b"],
)  # fmt: skip
def test_a_manifest_on_s3_names_what_lies_below_it(place: str) -> None:
    with pytest.raises(allowed_places.PlaceRefused):
        allowed_places.check_place(place, "s3://b/sets")
    assert allowed_places.check_place("s3://b/sets/x.png", "s3://b/sets") is None


@pytest.mark.parametrize("name", ["link.png", "pipe.png"])
def test_a_file_of_a_folder_leads_nowhere_else(home: Path, name: str) -> None:
    (home / "good.png").write_text("x")
    for other in ("link.png", "pipe.png", "loop.png", "folder"):
        if other != name:
            (home / other).unlink()
    source = open_source(Dataset(source=str(home), format="folder"))
    rows = {row.image_id: row for row in source.read([ref for ref in source.list_images() if ref.image_id == name])}
    assert all(row.file is None and row.data is None for row in rows.values())


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A snapshot as in Hugging Face's cache: its files are links to blobs."""
    repository = tmp_path / "datasets--team--set"
    revision = repository / "snapshots" / "0123abcd"
    (revision / "train").mkdir(parents=True)
    for folder in (repository / "blobs", repository / "refs", tmp_path / "datasets--team--other" / "blobs"):
        folder.mkdir(parents=True)
        (folder / "0123").write_text(CONTENT)
    (revision / "a.jpg").symlink_to("../../blobs/0123")
    (revision / "train" / "b.jpg").symlink_to("../../../blobs/0123")
    (revision / "train" / "refs.jpg").symlink_to("../../../refs/0123")
    (revision / "train" / "other.jpg").symlink_to("../../../../datasets--team--other/blobs/0123")
    (revision / "train" / "through.jpg").symlink_to("../../../blobs/link")
    (repository / "blobs" / "link").symlink_to("../refs/0123")
    return revision


@pytest.mark.parametrize(("folder", "name"), [(".", "a.jpg"), (".", "train/b.jpg"), ("train", "b.jpg")])
def test_a_file_of_a_snapshot_is_read_from_its_blobs(snapshot: Path, folder: str, name: str) -> None:
    source = open_source(Dataset(source=str((snapshot / folder).resolve()), format="folder"))
    (row,) = source.read([ref for ref in source.list_images() if ref.image_id == name])
    assert row.file == snapshot.parent.parent / "blobs" / "0123"


@pytest.mark.parametrize("name", ["refs.jpg", "other.jpg", "through.jpg"])
def test_a_file_of_a_snapshot_leads_nowhere_else(snapshot: Path, name: str) -> None:
    source = open_source(Dataset(source=str(snapshot / "train"), format="folder"))
    (row,) = source.read([ref for ref in source.list_images() if ref.image_id == name])
    assert row.file is None
    assert row.data is None
    assert "ASSAY_SOURCES" in row.detail


def test_blobs_beside_a_folder_that_is_no_snapshot_are_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "set" / "0123").mkdir(parents=True)
    (tmp_path / "blobs" / "0123").write_text(CONTENT)
    (tmp_path / "set" / "0123" / "a.jpg").symlink_to("../../blobs/0123")
    with pytest.raises(allowed_places.PlaceRefused):
        allowed_places.check_place(str(tmp_path / "set" / "0123" / "a.jpg"), str(tmp_path / "set" / "0123"))


FIRST = r"\.\./images/0\.png: .*: not below .*; ASSAY_SOURCES may allow it$"


@pytest.mark.parametrize("reason", [7, 10])
def test_places_that_are_refused_fail_the_stage_with_the_remedy(tmp_path: Path, reason: int) -> None:
    """Absolute paths in a manifest, or images beside the folder of annotations."""
    places = [f"../images/{number}.png" for number in range(reason)] + [f"{number}.png" for number in range(reason, 10)]
    for folder in ("images", "annotations", "golden"):
        (tmp_path / folder).mkdir()
    for place in places:
        (tmp_path / "annotations" / place).write_bytes(b"")
    (tmp_path / "annotations" / "m.jsonl").write_text("".join(json.dumps({"path": place}) + "\n" for place in places))
    source = open_source(Dataset(source=str(tmp_path / "annotations" / "m.jsonl")))
    rows = [(row, prepare_row(row, Preprocess())) for row in source.read(list(source.list_images()))]
    golden_uri = str(tmp_path / "golden")
    data = build_part.encode_part(rows, defaultdict(float))
    objects.write(manifests.uri_of_part(golden_uri, "part-00000"), data)
    part = parts.describe("part-00000", data)
    previews.write_rejects(golden_uri, "set", [part], part.lost)
    suite = SimpleNamespace(dataset=source.dataset, preprocess=Preprocess())  # type: ignore[attr-defined]
    spec: Any = SimpleNamespace(suite=suite, golden_uri=golden_uri)
    with pytest.raises(InputError, match=rf"{reason} unreadable-source\).*; the first, {FIRST}") as error:
        set_checks.check_rejects(spec, part.lost, 10)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [CONTENT.encode(), b"AWS_SECRET_ACCESS_KEY=abc", b"root:x:0:0", b"\x7fELF\x02"])
def test_no_byte_of_a_file_that_is_no_image_is_shown(content: bytes) -> None:
    end = prepare_row(SourceImage("a", content), Preprocess())
    assert isinstance(end, Reject)
    assert end.reason == "not-an-image"
    assert content[:4].decode("latin-1") not in end.detail


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "pipe"])
def test_a_device_and_a_pipe_are_not_opened_for_reading(tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    end = prepare_row(SourceImage("a", None, tmp_path / path), Preprocess())
    assert isinstance(end, Reject)
    assert "not a regular file" in end.detail


@pytest.mark.parametrize("suffix", ["txt", "json"])
def test_a_side_file_that_leads_out_makes_a_reject_and_no_reference(home: Path, suffix: str) -> None:
    folder = home / "pairs"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes(b"an image")
    content = {"txt": "A dog.", "json": json.dumps({"txt": "A dog."})}[suffix]
    (folder / f"a.{suffix}").write_text(content)
    outside = home.parent / f"outside.{suffix}"
    outside.write_text(content)
    (folder / f"b.{suffix}").symlink_to(outside)
    source = open_source(Dataset(source=str(folder), references="txt"))
    a, b = source.read(list(source.list_images()))
    assert (a.references, a.detail) == (["A dog."], "")
    assert (b.references, b.data, b.file) == ([], None, None)
    assert "a link out of it" in b.detail
