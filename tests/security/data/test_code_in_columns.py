"""Files whose columns carry code: no reader of a source or of our parts runs it, and each is refused in one line."""

import base64
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data  # noqa: F401 (registers the types that unpickle)

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.golden.part_plan import read_refs
from ray_jobs.golden.source_process import run_in_source_process
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.open_source import open_source
from ray_jobs.storage import parts

PICKLED = "ray.data.arrow_pickled_object"
NAMES = (
    PICKLED, "ray.data.arrow_tensor", "ray.data.arrow_tensor_v2", "ray.data.arrow_variable_shaped_tensor",
    "arrow.py_extension_type", "arrow.json", "arrow.uuid", "arrow.opaque", "pandas.period", "someone.else",
    "datasets.features.features.Array2DExtensionType",
)  # fmt: skip


class Writes:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def code(path: Path) -> bytes:
    return pickle.dumps(Writes(path))


def parquet(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


def ipc_file(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_file(path, table.schema) as sink:
        sink.write_table(table)


def ipc_stream(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_stream(path, table.schema) as sink:
        sink.write_table(table)


def feather(path: Path, table: pa.Table) -> None:
    import pyarrow.feather

    pyarrow.feather.write_feather(table, str(path))


def save_dataset(path: Path, table: pa.Table) -> None:
    """Write a folder as `datasets` saves it."""
    path.mkdir()
    ipc_stream(path / "data-00000-of-00001.arrow", table)
    features = {name: {"dtype": "binary", "_type": "Value"} for name in table.schema.names}
    (path / "dataset_info.json").write_text(json.dumps({"features": features}))
    files = [{"filename": "data-00000-of-00001.arrow"}]
    state: dict[str, Any] = {"_data_files": files, "_fingerprint": "0", "_format_columns": None,
             "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None}  # fmt: skip
    (path / "state.json").write_text(json.dumps(state))


WRITERS: dict[str, Callable[[Path, pa.Table], None]] = {
    "x.parquet": parquet, "file.arrow": ipc_file, "stream.arrow": ipc_stream, "x.feather": feather,
    "saved": save_dataset,
}  # fmt: skip


def make_named(field: pa.Field, name: str) -> pa.Field:
    """The field with the metadata that names an extension type of Arrow."""
    return field.with_metadata({"ARROW:extension:name": name, "ARROW:extension:metadata": "[1]"})


def storage_of(name: str) -> pa.DataType:
    return pa.large_binary() if name == PICKLED else pa.string() if name == "arrow.json" else pa.binary()


def make_nested(shape: str, value: bytes, name: str = PICKLED) -> tuple[pa.Field, pa.Array]:
    """A column of this shape that contains the type, and one row."""
    leaf = make_named(pa.field("item", storage_of(name)), name)
    cell: Any
    if shape == "struct":
        kind, cell = pa.struct([leaf.with_name("bytes")]), {"bytes": value}
    elif shape == "list":
        kind, cell = pa.list_(leaf), [value]
    elif shape == "large-list":
        kind, cell = pa.large_list(leaf), [value]
    elif shape == "list-of-struct":
        kind, cell = pa.list_(pa.struct([leaf])), [{"item": value}]
    elif shape == "map":
        kind, cell = pa.map_(pa.string(), leaf.with_name("value")), [("a", value)]
    elif shape == "fixed-list":
        kind, cell = pa.list_(leaf, 1), [value]
    else:
        return make_named(pa.field("image", storage_of(name)), name), pa.array([value], storage_of(name))
    plain = pa.array([cell], pa.list_(storage_of(name)) if shape == "list" else _plain(kind))
    return pa.field("image", kind), plain.cast(_plain(kind))


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without its fields' metadata."""
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, _plain(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain(kind.value_type))
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind


def table_of(field: pa.Field, column: pa.Array, *others: tuple[pa.Field, pa.Array]) -> pa.Table:
    """A table whose bytes name the extension type, without the types registered in this process."""
    fields = [field, *(extension_name for extension_name, _ in others)]
    arrays = [column.view(field.type) if not pa.types.is_nested(field.type) else _retype(column, field.type)]
    return pa.Table.from_arrays([*arrays, *(array for _, array in others)], schema=pa.schema(fields))


def _retype(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, len(column), column.buffers()[: 1 if pa.types.is_struct(kind) else 2],
                                 children=_children(column, kind)) if kind != column.type else column  # fmt: skip


def _children(column: pa.Array, kind: pa.DataType) -> list[pa.Array]:
    if pa.types.is_struct(kind):
        return [_retype(column.field(index), kind.field(index).type) for index in range(kind.num_fields)]
    return [_retype(column.values, kind.field(0).type)]


def assert_refused(dataset: Dataset) -> str:
    """Assert that both listing and reading end with this line."""
    source = open_source(dataset)
    with pytest.raises(InputError) as raised:
        list(source.read(list(source.list_images())))
    return str(raised.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file", WRITERS)
def test_a_column_of_an_extension_type_is_refused(tmp_path: Path, file: str, name: str) -> None:
    field, column = make_nested("plain", b"x" if name != PICKLED else code(tmp_path / "ran"), name)
    WRITERS[file](tmp_path / file, table_of(field, column))
    line = assert_refused(Dataset(source=str(tmp_path / file), image="image"))
    assert ("'image'" in line and name in line) or "not readable" in line or "cannot be loaded" in line
    assert "\n" not in line
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("role", ["image", "label", "references"])
@pytest.mark.parametrize("shape", ["plain", "struct", "list", "large-list", "list-of-struct", "map", "fixed-list"])
@pytest.mark.parametrize("file", ["x.parquet", "file.arrow", "stream.arrow"])
def test_wherever_the_type_lies(tmp_path: Path, file: str, shape: str, role: str) -> None:
    field, column = make_nested(shape, code(tmp_path / "ran"))
    other = (pa.field("good", pa.binary()), pa.array([b"\xff\xd8"]))
    WRITERS[file](tmp_path / file, table_of(field, column, other))
    dataset = Dataset(
        source=str(tmp_path / file), stratify=True, limit=1,
        **({"image": "image"} if role == "image" else {"image": "good", role: "image"}),
    ) if role == "label" else Dataset(
        source=str(tmp_path / file), **({"image": "image"} if role == "image" else {"image": "good", role: "image"})
    )  # fmt: skip
    line = assert_refused(dataset)
    assert "'image'" in line
    assert PICKLED in line
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["x.parquet", "file.arrow", "stream.arrow"])
def test_a_column_that_is_not_wanted_is_not_read(tmp_path: Path, file: str) -> None:
    field, column = make_nested("plain", code(tmp_path / "ran"))
    other = (pa.field("good", pa.binary()), pa.array([b"\xff\xd8"]))
    WRITERS[file](tmp_path / file, table_of(field, column, other))
    source = open_source(Dataset(source=str(tmp_path / file), image="good"))
    assert [row.data for row in source.read(list(source.list_images()))] == [b"\xff\xd8"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["x.parquet", "file.arrow", "stream.arrow"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, file: str) -> None:
    field, column = make_nested("plain", code(tmp_path / "ran"))
    WRITERS[file](tmp_path / file, table_of(field, column, (pa.field("image", pa.binary()), pa.array([b"x"]))))
    assert "2 columns 'image'" in assert_refused(Dataset(source=str(tmp_path / file), image="image"))
    assert not (tmp_path / "ran").exists()


def test_a_schema_in_the_metadata_of_a_footer_runs_no_code(tmp_path: Path) -> None:
    field, column = make_nested("plain", code(tmp_path / "ran"))
    evil = table_of(field, column).schema.serialize().to_pybytes()
    plain = pa.table({"image": [b"x"]}).replace_schema_metadata({"ARROW:schema": base64.b64encode(evil)})
    pq.write_table(plain, tmp_path / "x.parquet")
    assert_refused(Dataset(source=str(tmp_path / "x.parquet"), image="image"))
    assert not (tmp_path / "ran").exists()


TENSOR = "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA"


@pytest.mark.parametrize("file", ["x.parquet", "file.arrow", "stream.arrow"])
def test_a_schema_that_unpickles_is_not_built(tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's tensor types unpickle if a variable allows it, even in a column that nobody reads."""
    field = pa.field("tensor", pa.list_(pa.int64())).with_metadata(
        {"ARROW:extension:name": "ray.data.arrow_tensor", "ARROW:extension:metadata": code(tmp_path / "ran")}
    )
    good = (pa.field("image", pa.binary()), pa.array([b"x"]))
    WRITERS[file](tmp_path / file, table_of(field, pa.array([[1]], pa.list_(pa.int64())), good))
    monkeypatch.setenv(TENSOR, "1")
    from ray.data._internal.tensor_extensions import arrow

    monkeypatch.setattr(arrow, "_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA", True)
    assert TENSOR in assert_refused(Dataset(source=str(tmp_path / file), image="image"))
    assert not (tmp_path / "ran").exists()


def evil_part(path: Path, ran: Path) -> None:
    field, column = make_nested("plain", code(ran))
    path.parent.mkdir(parents=True)
    parquet(path, table_of(field, column))


READ_PARTS: dict[str, Callable[[str, bytes], object]] = {
    "read": lambda stage, data: parts.read(stage, "part-00000"),
    "read-some": lambda stage, data: parts.read(stage, "part-00000", ["image"]),
    "columns": lambda stage, data: parts.read_columns(stage, "part-00000", ["image"]),
    "table": lambda stage, data: parts.decode(data),
    "table-some": lambda stage, data: parts.decode(data, ["image"]),
    "plan": lambda stage, data: read_refs(stage, "../parts/part-00000.parquet", 0),
}


@pytest.mark.parametrize("how", READ_PARTS)
def test_a_part_that_someone_else_wrote_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "parts" / "part-00000.parquet"
    evil_part(path, tmp_path / "ran")
    (tmp_path / "plan").mkdir()
    with pytest.raises(InputError, match="Assay did not write it"):
        READ_PARTS[how](str(tmp_path), path.read_bytes())
    assert not (tmp_path / "ran").exists()


def test_our_own_parts_are_read(tmp_path: Path) -> None:
    table = pa.table({"image_id": ["a"], "references": [["x"]], "image": [b"1"]})
    data = parts.encode(table, {"lost": {}})
    assert parts.decode(data).to_pylist() == table.to_pylist()
    assert parts.decode_footer(data) == {"lost": {}}
    assert pq.read_table(io.BytesIO(data)).num_rows == 1


def test_a_source_is_listed_where_ray_is_not() -> None:
    assert run_in_source_process("dataset x", eval, "'ray' in __import__('sys').modules") is False


@pytest.mark.integration
def test_a_part_whose_decoder_dies_runs_no_code(tmp_path: Path) -> None:
    """The real job: an image that kills the decoder, and a label that would unpickle where Ray's types are
    registered."""
    from samples import draw_picture, encode_image
    from stage_jobs import plan_spec, start_stage, wait_for_exit

    field, column = make_nested("plain", code(tmp_path / "ran"))
    image = (pa.field("image", pa.binary()), pa.array([encode_image(draw_picture())]))
    parquet(tmp_path / "x.parquet", table_of(field.with_name("label"), column, image))
    checkpoint = Path(__file__).parents[3] / "demo" / "checkpoints" / "step-0800"
    dataset = {"image": "image", "label": "label"}
    spec = plan_spec(tmp_path, str(tmp_path / "root"), str(checkpoint), str(tmp_path / "x.parquet"), dataset=dataset)
    result = wait_for_exit(start_stage("preprocess", spec, RAY_ADDRESS="local", RAY_AUTH_MODE="disabled"))
    assert result.code == 2, result.output
    assert "column 'label' has the Arrow extension type 'ray.data.arrow_pickled_object'" in result.output
    assert not (tmp_path / "ran").exists()
