"""Files that claim, unpack to, or need far more than their size: each is refused, or fails alone."""

import csv
import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reply_server import Reply, serve_replies

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.dataset.brace_patterns import MOST_FILES, count_named_files, expand_pattern
from ray_jobs.golden.build_part import prepare_row
from ray_jobs.images.prepare import Reject
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.formats import tar
from ray_jobs.sources.listing.bounds import limit_listing
from ray_jobs.sources.open_source import open_source
from ray_jobs.sources.reading import fetch, web
from ray_jobs.sources.rows import row_files
from ray_jobs.sources.source import ImageRef
from ray_jobs.storage import objects

SMALL = Preprocess(max_pixels=12544, decode_seconds=1)


@pytest.mark.parametrize(
    "pattern",
    [
        "{0..99999999}", "{1..999999999999}", "{000..999}{000..999}", "{0..999}{0..999}{0..9}",
        "{a..z}{a..z}{a..z}{a..z}", "{{0..999},{0..999}}{0..999}", "{x,{0..9999999}}", "{-99999999..0}",
        "{0..99999999..2}", "{99999999..0}", "{a,b}" * 30, "{a,b,c,d,e,f,g,h}" * 8, "{0..9}" * 12,
        "{0..99999999}.{a,b}", "s3://b/{0..99999999}.tar", "{0..999999}{}", "{" * 40 + "a,b" + "}" * 40,
        "{x{0..99999999},y}", "{0..1000000}/{0..1000000}/{0..1000000}.tar",
    ],
)  # fmt: skip
def test_braces_that_name_too_much_are_not_expanded(pattern: str) -> None:
    with pytest.raises(InputError, match="braces"):
        expand_pattern(f"/nowhere/{pattern}.tar" if "://" not in pattern else pattern)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("train-{000..099}.tar", 100), ("{a,b}{1..3}", 6), ("{a,b{1..3}}", 4), ("{0..10..5}", 3), ("{c..a}", 3), ("x", 1),
     ("{a}", 1), ("{1..3", 1), ("{,a}", 2)],
)  # fmt: skip
def test_braces_that_name_few_are_counted_as_they_expand(pattern: str, count: int) -> None:
    assert count_named_files(pattern) == count <= MOST_FILES
    if pattern not in ("{a}", "{1..3"):
        assert len(expand_pattern(pattern)) == count


def make_many(count: int) -> pa.Table:
    return pa.table({"image": pa.nulls(count, pa.binary()), "label": pa.nulls(count, pa.string())})


def parquet(path: Path, count: int) -> Path:
    pq.write_table(make_many(count), path, compression="zstd")
    return path


def ipc(path: Path, count: int) -> Path:
    table = pa.table({"image": pa.nulls(count), "label": pa.nulls(count)})
    with pa.ipc.new_file(path, table.schema) as sink:
        sink.write_table(table)
    return path


@pytest.mark.parametrize("count", [100_000, 5_000_000])
@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("write", [parquet, ipc])
def test_rows_that_no_bytes_stand_for_are_not_listed(
    write: Callable[[Path, int], Path], stratify: bool, count: int, tmp_path: Path
) -> None:
    path = write(tmp_path / ("x.parquet" if write is parquet else "x.arrow"), count)
    assert path.stat().st_size < count
    source = open_source(Dataset(source=str(path), image="image", label="label", limit=10, stratify=stratify))
    with pytest.raises(InputError, match="rows in"):
        list(source.list_images())


def test_a_footer_that_claims_any_number(tmp_path: Path) -> None:
    """The row counts of the row group and of the file, varints in the footer, are replaced by 10^15."""
    table = pa.table({"image": [b"x" * 50] * 77})
    pq.write_table(table, tmp_path / "good.parquet")
    data = (tmp_path / "good.parquet").read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    claimed = _varint(2 * 10**15)
    evil = footer.replace(_varint(2 * 77), claimed)
    assert evil != footer
    (tmp_path / "x.parquet").write_bytes(data[: -8 - length] + evil + len(evil).to_bytes(4, "little") + b"PAR1")
    source = open_source(Dataset(source=str(tmp_path / "x.parquet"), image="image", limit=10))
    with pytest.raises(InputError):
        list(source.read(list(source.list_images())))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def list_refs(count: int, **settings: Any) -> Iterator[ImageRef]:
    return (ImageRef(str(number), "x", **settings) for number in range(count))


@pytest.mark.parametrize(
    ("variable", "value", "settings"),
    [
        ("ASSAY_MAX_IMAGES", "100", {}), ("ASSAY_MAX_LISTING_MB", "1", {"label": "x" * 20_000}),
        ("ASSAY_MAX_LISTING_MB", "1", {"references": ["x" * 20_000]}),
        ("ASSAY_MAX_LISTING_MB", "1", {"fault": "x" * 20_000}), ("ASSAY_MAX_LISTING_MB", "1", {"truth": "x" * 20_000}),
    ],
)  # fmt: skip
def test_a_listing_has_an_end(
    variable: str, value: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert len(list(limit_listing("/x", list_refs(40, **settings)))) == 40
    with pytest.raises(InputError, match=variable):
        list(limit_listing("/x", list_refs(1000, **settings)))


PACKED = {  # what a small file unpacks to without an end, and what ends it
    "rows": ("m.jsonl.gz", [b""], b'{"path": "%d.png", "caption": "A dog."}\n', "ASSAY_MAX_IMAGES"),
    "rows of one image": ("m.jsonl.gz", [b""], b'{"path": "a.png", "caption": "Dog %d."}\n', "ASSAY_MAX_IMAGES"),
    "COCO's images": ("m.json.gz", [b'{"images": ['], b'{"id": %d, "file_name": "a.png"},', "ASSAY_MAX_LISTING_MB"),
    "COCO's captions": (
        "m.json.gz", [b'{"images": [{"id": 1, "file_name": "a.png"}], "annotations": ['],
        b'{"image_id": 1, "caption": "Dog %d."},', "ASSAY_MAX_LISTING_MB",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", PACKED)
def test_a_packed_file_without_an_end_is_ended_before_all_of_it_lies_on_disk(
    bomb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, head, line, variable = PACKED[bomb]
    monkeypatch.setenv("ASSAY_MAX_IMAGES", "1000")
    monkeypatch.setenv("ASSAY_MAX_LISTING_MB", "1")
    with gzip.open(tmp_path / name, "wb") as file:
        file.writelines([*head, *(line % number for number in range(30_000)), b"cut off"])
    source = open_source(Dataset(source=str(tmp_path / name), references="caption", images=str(tmp_path)))
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match=variable):
        list(source.list_images())


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.tsv"])
def test_a_line_without_an_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "MOST_LINE", 1000)
    (tmp_path / name).write_text("file\n" * (name != "m.jsonl") + "x" * 5000)
    with pytest.raises(InputError, match=r"line . has over 1000 bytes"):
        list(row_files.read_rows(str(tmp_path / name)))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"file": ' + "9" * 10_000 + "}", "{" + "1" * 5000])
def test_json_that_is_nested_or_long(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(text + "\n")
    with pytest.raises(InputError):
        list(open_source(Dataset(source=str(tmp_path / "m.jsonl"))).list_images())


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" + "9" * 10_000 + "]"])
def test_names_of_labels_that_are_nested_or_long(text: str, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(text)
    (tmp_path / "m.jsonl").write_text('{"file": "a.png", "kind": "0"}\n')
    source = open_source(
        Dataset(source=str(tmp_path / "m.jsonl"), label="kind", label_names=str(tmp_path / "names.json"))
    )
    with pytest.raises(InputError):
        list(source.list_images())


def test_references_nested_deep_in_a_csv_are_a_text(tmp_path: Path) -> None:
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "said"], ["a.png", "[" * 50_000]])
    (ref,) = open_source(Dataset(source=str(tmp_path / "m.csv"), references="said")).list_images()
    assert ref.references == ["[" * 50_000]


@pytest.fixture
def megabyte(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Lower the limits below the size of an image."""
    monkeypatch.setenv("ASSAY_MAX_IMAGE_MB", "1")
    return b"\xff\xd8" + b"x" * 2_000_000


def folder_of(path: Path, data: bytes) -> str:
    (path / "a.jpg").write_bytes(data)
    return str(path)


def manifest_of(path: Path, data: bytes) -> str:
    (path / "a.jpg").write_bytes(data)
    (path / "m.jsonl").write_text(json.dumps({"file": "a.jpg"}) + "\n")
    return str(path / "m.jsonl")


def parquet_of(path: Path, data: bytes) -> str:
    pq.write_table(pa.table({"image": [data]}), path / "x.parquet")
    return str(path / "x.parquet")


def arrow_of(path: Path, data: bytes) -> str:
    table = pa.table({"image": [data]})
    with pa.ipc.new_stream(path / "x.arrow", table.schema) as sink:
        sink.write_table(table)
    return str(path / "x.arrow")


def tar_of(path: Path, data: bytes) -> str:
    with tarfile.open(path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a.jpg")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return str(path / "x.tar")


@pytest.mark.parametrize("write", [folder_of, manifest_of, parquet_of, arrow_of, tar_of])
def test_an_image_that_is_too_large(write: Callable[[Path, bytes], str], megabyte: bytes, tmp_path: Path) -> None:
    source = open_source(Dataset(source=write(tmp_path, megabyte)))
    (row,) = source.read(list(source.list_images()))
    end = prepare_row(row, SMALL)
    assert isinstance(end, Reject)
    assert "ASSAY_MAX_IMAGE_MB" in end.detail


def test_an_object_that_is_too_large(megabyte: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int | None] = []

    def read_noted(uri: str, at_most: int | None = None) -> bytes:
        sizes.append(at_most)
        raise InputError(f"{uri}: is too large")

    monkeypatch.setattr(objects, "read", read_noted)
    assert fetch.fetch_place("s3://b/set/x.png", "s3://b/set").data is None
    assert sizes == [2**20]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_answer_that_unpacks_to_more(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SOURCES", "127.0.0.1")
    monkeypatch.setattr(web, "LIMITS", web.Limits(size=100_000, total=5))
    packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    body = packer.compress(bytes(50_000_000)) + packer.flush()
    with serve_replies(lambda *_: Reply(body=body, headers={"Content-Encoding": coding})) as address:
        data, detail = web.fetch(f"{address}/x")
    assert data is None
    assert "longer than 100000 bytes" in detail


def test_a_text_in_a_tar_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MOST_TEXT", 1000)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, size in (("a.jpg", 10), ("a.txt", 5000)):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
    source = open_source(Dataset(source=str(tmp_path / "x.tar"), label="txt", stratify=True, limit=1))
    with pytest.raises(InputError, match="over 1000"):
        list(source.list_images())


@pytest.mark.parametrize("form", ["file", "stream"])
def test_offsets_that_lead_out_of_the_file(form: str, tmp_path: Path) -> None:
    """A reader that trusts them crashes."""
    table = pa.table({"image": [b"a" * 40, b"b" * 40]})
    writer = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
    with writer(tmp_path / "good.arrow", table.schema) as sink:
        sink.write_table(table)
    data = (tmp_path / "good.arrow").read_bytes()
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 40, 80))
    assert data.count(offsets) == 1
    evil = b"".join(number.to_bytes(4, "little") for number in (0, 2**31 - 8, 2**31 - 1))
    (tmp_path / "x.arrow").write_bytes(data.replace(offsets, evil))
    source = open_source(Dataset(source=str(tmp_path / "x.arrow"), image="image"))
    with pytest.raises(InputError):
        list(source.read([ImageRef("x#0", "#0.0"), ImageRef("x#1", "#0.1")]))
