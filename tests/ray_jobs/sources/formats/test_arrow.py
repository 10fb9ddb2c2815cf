from pathlib import Path

import pyarrow as pa
import pytest
from image_formats import PICTURES, arrow_files, list_refs, make_settings, read_refs

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects


def test_both_formats_on_s3(s3: str, tmp_path: Path) -> None:
    arrow_files(tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        objects.upload(path, f"{s3}/data/{path.name}")
    dataset = Dataset(source=f"{s3}/data", label="kind")
    refs = list_refs(dataset)
    assert [ref.image_id for ref in refs][4:6] == ["a.arrow#4", "b.feather#0"]
    assert [row.data for row in read_refs(dataset, refs)] == PICTURES
    assert [row.data for row in read_refs(dataset, [refs[6], refs[3]])] == [PICTURES[6], PICTURES[3]]


def test_a_compressed_feather_file(tmp_path: Path) -> None:
    import pyarrow.feather as feather

    feather.write_feather(pa.table({"x": range(7), "jpg": PICTURES}), str(tmp_path / "a.feather"), compression="zstd")
    assert [row.data for row in read_refs(Dataset(source=str(tmp_path / "a.feather")))] == PICTURES


def test_sizes_are_estimates(tmp_path: Path) -> None:
    sizes = [ref.size for ref in list_refs(make_settings(arrow_files(tmp_path / "data")))]
    assert all(0.5 < size / len(PICTURES[0]) < 1.5 for size in sizes)


@pytest.mark.parametrize("damage", ["<html>", "", "cut"])
def test_a_file_that_is_not_arrow(tmp_path: Path, damage: str) -> None:
    arrow_files(tmp_path / "data")
    for name in ("a.arrow", "b.feather"):
        path = tmp_path / name
        data = (tmp_path / "data" / name).read_bytes()
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else damage.encode())
        with pytest.raises(InputError, match=rf"{name}: not readable as Arrow IPC: \w"):
            list_refs(Dataset(source=str(path)))


def test_a_file_that_lost_rows_since_it_was_listed(tmp_path: Path) -> None:
    dataset = make_settings(arrow_files(tmp_path / "data"))
    refs = list_refs(dataset)
    schema = pa.schema({"image": pa.large_binary()})
    with pa.ipc.new_stream(tmp_path / "data" / "b.feather", schema) as stream:
        stream.write_table(pa.table({"image": pa.array(PICTURES[:1], pa.large_binary())}))
    with pytest.raises(InputError, match=r"b\.feather: has no row 0 in block 1 any more"):
        read_refs(dataset, refs)
