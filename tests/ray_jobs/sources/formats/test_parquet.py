from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_formats import (
    PICTURES,
    list_refs,
    make_settings,
    parquet_of_bytes,
    parquet_of_the_hub,
    read_bytes,
    read_refs,
)
from reply_server import Reply, serve_replies

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.formats import parquet
from ray_jobs.sources.open_source import open_source
from ray_jobs.storage import objects


def test_on_s3_as_a_folder_a_file_and_a_pattern(s3: str, tmp_path: Path) -> None:
    parquet_of_bytes(tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        objects.upload(path, f"{s3}/data/{path.name}")
    folder, one_file = Dataset(source=f"{s3}/data"), Dataset(source=f"{s3}/data/b.parquet")
    assert [row.data for row in read_refs(folder)] == PICTURES
    assert [row.data for row in read_refs(one_file)] == PICTURES[3:]
    assert [row.data for row in read_refs(Dataset(source=f"{s3}/data/{{b,a}}.parquet"))] == [
        *PICTURES[3:],
        *PICTURES[:3],
    ]
    assert [row.image_id for row in read_refs(folder)][2:4] == ["a.parquet#2", "b.parquet#0"]
    assert [row.image_id for row in read_refs(one_file)][:1] == ["b.parquet#0"]
    assert open_source(folder).distance == "object-store"


def test_an_empty_image_cell_is_a_row_without_data(tmp_path: Path) -> None:
    cells = [PICTURES[0], None, b""]
    pq.write_table(pa.table({"image": pa.array(cells, pa.binary())}), tmp_path / "a.parquet")
    rows = read_refs(Dataset(source=str(tmp_path)))
    assert [row.data for row in rows] == [PICTURES[0], None, b""]
    assert rows[1].detail == "the image cell is empty"


@pytest.mark.parametrize("damage", ["<html>", "", "cut"])
def test_a_file_that_is_not_parquet(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": PICTURES}), path)
    path.write_bytes(path.read_bytes()[:-50] if damage == "cut" else damage.encode())
    with pytest.raises(InputError, match=r"a\.parquet: not readable as Parquet: \w") as error:
        list_refs(Dataset(source=str(tmp_path)))
    assert "\n" not in str(error.value)


def test_damage_in_the_middle_is_reported_and_not_skipped(tmp_path: Path) -> None:
    dataset = make_settings(parquet_of_bytes(tmp_path / "data"))
    refs = list_refs(dataset)
    path = tmp_path / "data" / "b.parquet"
    path.write_bytes(path.read_bytes().replace(PICTURES[3][:40], b"\xff" * 40)[:200] + b"\xff" * 3000)
    with pytest.raises(InputError, match=r"b\.parquet: not readable as Parquet"):
        read_refs(dataset, refs)


def test_sizes_are_estimates_of_the_images_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.bytes(1000) for _ in range(20)]
    wide = {"image": [{"bytes": data, "path": None} for data in images], "image_2": [rng.bytes(5000)] * 20}
    pq.write_table(pa.table(wide), tmp_path / "a.parquet")
    assert all(1000 <= ref.size < 1200 for ref in list_refs(Dataset(source=str(tmp_path))))


def test_only_the_requested_row_groups_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"image": [bytes([n]) for n in range(200)]}), tmp_path / "a.parquet", row_group_size=100)
    dataset = Dataset(source=str(tmp_path))
    refs = list_refs(dataset)
    ranges: list[tuple[int, int]] = []
    original = parquet.ParquetShard.batches

    def count_ranges(self: parquet.ParquetShard, block: int, columns: list[str]) -> object:
        for batch in original(self, block, columns):
            ranges.append((block, len(batch)))
            yield batch

    monkeypatch.setattr(parquet.ParquetShard, "batches", count_ranges)
    assert [row.data for row in open_source(dataset).read([refs[101], refs[103], refs[120]])] == [
        b"e",
        b"g",
        b"x",
    ]
    assert ranges == [(1, 16), (1, 16)]


def test_labels_of_the_hub_have_names_and_ids(tmp_path: Path) -> None:
    rows = read_refs(make_settings(parquet_of_the_hub(tmp_path / "data"), label="kind"))
    assert [(row.label, row.label_id) for row in rows][:3] == [("even", "0"), ("odd", "1"), ("even", "0")]


def test_an_unlabelled_row_of_the_hub_has_no_name(tmp_path: Path) -> None:
    parquet_of_the_hub(tmp_path / "data")
    (path,) = (tmp_path / "data").iterdir()
    table = pq.read_table(path)
    for value, expected in ((-1, (None, "-1")), (None, (None, None))):
        pq.write_table(table.set_column(2, "kind", pa.array([value] * 7, pa.int64())), path)
        assert {(row.label, row.label_id) for row in read_refs(make_settings({"source": path}, label="kind"))} == {
            expected
        }
    pq.write_table(table.set_column(2, "kind", pa.array([9] * 7, pa.int64())), path)
    with pytest.raises(InputError, match="no name for label '9'"):
        read_refs(make_settings({"source": path}, label="kind"))


def test_addresses_are_fetched(tmp_path: Path) -> None:
    with serve_replies(lambda path, _: Reply(404) if path == "/1" else Reply(body=PICTURES[0])) as address:
        urls = [f"{address}/0", f"{address}/1", None]
        pq.write_table(pa.table({"URL": urls, "TEXT": ["a", "b", "c"]}), tmp_path / "a.parquet")
        dataset = Dataset(source=str(tmp_path), references="TEXT")
        assert open_source(dataset).distance == "web"
        rows = read_refs(dataset)
    assert [read_bytes(row) for row in rows] == [PICTURES[0], None, None]
    assert [row.detail for row in rows] == ["", f"{address}/1: 404 Not Found", "the image cell is empty"]


def test_files_that_disagree_about_their_images(tmp_path: Path) -> None:
    for name, column in (("a", "image"), ("b", "photo")):
        pq.write_table(pa.table({column: PICTURES}), tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: its images seem to be in 'photo', those .* in 'image'"):
        list_refs(Dataset(source=str(tmp_path)))
