"""Tables as pandas, Spark, Polars and `datasets` write them: the same images through each type of Arrow's."""

import base64
import datetime
import decimal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_formats import PICTURES, read_bytes, read_refs, write_images

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.formats import table
from ray_jobs.sources.open_source import open_source

STRUCTS = [{"bytes": data, "path": None} for data in PICTURES[:2]]
NAMES = ["000.png", "001.png"]
TEXT64 = [base64.b64encode(data).decode() for data in PICTURES[:2]]


def write_table(folder: Path, name: str = "a.parquet", **columns: Any) -> Dataset:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / name)
    return Dataset(source=str(folder), format="parquet")


@pytest.mark.parametrize(
    "column",
    [
        pa.array(PICTURES[:2], pa.large_binary()),
        pa.array(PICTURES[:2], pa.binary_view()),
        pa.array(PICTURES[:2], pa.binary()).dictionary_encode(),
        pa.array([[cell] for cell in STRUCTS]),
        pa.array([[data] for data in PICTURES[:2]], pa.large_list(pa.large_binary())),
        pa.array([[data] for data in PICTURES[:2]], pa.list_(pa.binary(), 1)),
        pa.array(NAMES, pa.large_string()),
        pa.array(NAMES, pa.string_view()),
        pa.array(NAMES).dictionary_encode(),
        pa.array([[name] for name in NAMES]),
        pa.array([{"path": name} for name in NAMES]),
        pa.array([name.replace("0", "x\\..\\0", 1) for name in NAMES]),
        pa.array(TEXT64),
        pa.array([f"data:image/png;base64,{text}" for text in TEXT64]),
        pa.array([name.encode() for name in NAMES]),
        pa.array([text.encode() for text in TEXT64]),
        pa.array(
            [{"bytes": None, "path": name} for name in NAMES], pa.struct({"bytes": pa.binary(), "path": pa.utf8()})
        ),
    ],
    ids=lambda column: str(column.type).replace(" ", ""),
)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_images_of_every_type(tmp_path: Path, column: pa.Array, kind: str) -> None:
    write_images(tmp_path / "data")
    table = pa.table({"image": column, "caption": ["a", "b"]})
    if kind == "parquet":
        pq.write_table(table, tmp_path / "data" / "t.parquet")
    else:
        with pa.ipc.new_file(tmp_path / "data" / "t.arrow", table.schema) as file:
            file.write_table(table)
    dataset = Dataset(source=str(tmp_path / "data"), format=kind, references="caption")
    rows = read_refs(dataset)
    assert [read_bytes(row) for row in rows] == PICTURES[:2], [row.detail for row in rows]
    assert [row.references for row in rows] == [["a"], ["b"]]
    assert open_source(dataset).distance == "local"


CAT = pa.array(["cat", "dog"])


@pytest.mark.parametrize(
    ("column", "references"),
    [
        (CAT, [["cat"], ["dog"]]), (CAT.cast(pa.large_string()), [["cat"], ["dog"]]),
        (CAT.cast(pa.binary()), [["cat"], ["dog"]]), (CAT.dictionary_encode(), [["cat"], ["dog"]]),
        (CAT.cast(pa.string_view()), [["cat"], ["dog"]]), (pa.array([None, "dog"]), [[], ["dog"]]),
        (pa.nulls(2), [[], []]), (pa.array([float("nan")] * 2), [[], []]),
        (pa.array([None, None], pa.int64()), [[], []]),
        (pa.array([["a", None], []], pa.large_list(pa.large_string())), [["a"], []]),
        (pa.array([["a", "b"], None]), [["a", "b"], []]), (pa.array(["['a', 'b']", '["c"]']), [["a", "b"], ["c"]]),
        (pa.array([{"id": 0, "caption": "a"}, {"id": 1, "caption": None}]), [["a"], []]),
        (pa.array([[{"raw": "a", "tokens": ["a"]}, {"raw": "b", "tokens": ["b"]}], []]), [["a", "b"], []]),
        (pa.array([[("en", "a")], [("en", "b")]], pa.map_(pa.string(), pa.string())), "a list of 2 in a list"),
        (pa.array([1, 2]), "a number (1)"), (pa.array([{"en": "a", "de": "b"}] * 2), "an object ({en, de})"),
        (pa.array([[["a"]], [["b"]]]), "a list of 1 in a list"),
        (pa.array([datetime.datetime(2026, 1, 1)] * 2), "a datetime"),
        (pa.array(["['a' 'b']"] * 2), "a list written as text that cannot be read, ['a' 'b']"),
        (pa.array([b"\xff\xfe"] * 2), "bytes that are no UTF-8 text"), (pa.array([True, False]), "a number (True)"),
    ],
    ids=str,
)  # fmt: skip
def test_references_of_every_type(tmp_path: Path, column: pa.Array, references: Any) -> None:
    dataset = write_table(tmp_path / "data", image=PICTURES[:2], said=column)
    rows = read_refs(dataset.model_copy(update={"references": "said"}))
    if isinstance(references, list):
        assert [row.references for row in rows] == references
        assert all(row.data for row in rows)
    else:
        assert f"references 'said': {references}" in rows[0].detail
        assert rows[0].data is None


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (pa.array([3, None]), ["3", None]), (pa.array([3.0, float("nan")]), ["3", None]), (CAT, ["cat", "dog"]),
        (CAT.dictionary_encode(), ["cat", "dog"]), (CAT.cast(pa.large_binary()), ["cat", "dog"]),
        (pa.array([True, False]), ["True", "False"]), (pa.array([[1, 2], [3]]), ["1, 2", "3"]),
        (pa.array([decimal.Decimal("3.00"), decimal.Decimal("4.50")]), ["3", "4.5"]),
        (pa.array([1, 2], pa.uint8()), ["1", "2"]),
        (pa.array([1.5, 2.0], pa.float16()), ["1.5", "2"]), (pa.array([{"id": 1, "name": "cat"}] * 2), ["cat", "cat"]),
        (pa.array([datetime.date(2026, 1, 1)] * 2), "a date; write it as a text or number"),
        (pa.array([{"id": 1, "n": 2}] * 2), "an object ({id, n})"), (pa.array([[0, 1, 0]] * 2), "as if one-hot"),
    ],
    ids=str,
)  # fmt: skip
def test_labels_of_every_type(tmp_path: Path, column: pa.Array, labels: Any) -> None:
    rows = read_refs(
        write_table(tmp_path / "data", image=PICTURES[:2], kind=column).model_copy(update={"label": "kind"})
    )
    if isinstance(labels, list):
        assert [row.label for row in rows] == labels
    else:
        assert f"label 'kind': {labels}" in rows[0].detail or labels in rows[0].detail
        assert (rows[0].data, rows[0].label) == (None, None)


def test_several_labels_have_a_name_each(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('["cat", "dog", "cow"]')
    dataset = write_table(tmp_path / "data", image=PICTURES[:2], kind=pa.array([[0, 2], [1]]))
    update = {"label": "kind", "label_names": str(tmp_path / "names.json")}
    rows = read_refs(dataset.model_copy(update=update))
    assert [(row.label, row.label_id) for row in rows] == [("cat, cow", "0, 2"), ("dog", "1")]
    with pytest.raises(InputError, match=r"names\.json: no name for label '3'"):
        read_refs(write_table(tmp_path / "data", image=PICTURES[:1], kind=pa.array([[0, 3]])).model_copy(update=update))


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("column", ["jpg", "photo_data", "path"])
def test_a_file_whose_images_are_all_missing_is_rejects(tmp_path: Path, order: str, column: str) -> None:
    write_images(tmp_path / "data")
    cells = NAMES if column == "path" else PICTURES[:2]
    write_table(tmp_path / "data", f"{order[0]}.parquet", **{column: cells, "caption": ["a", "b"]})
    empty = {column: pa.nulls(2), "caption": ["c", "d"], "mask": [b"x", b"y"] if column == "jpg" else ["x", "y"]}
    dataset = write_table(tmp_path / "data", f"{order[1]}.parquet", **empty)
    rows = {row.image_id: row for row in read_refs(dataset)}
    assert [read_bytes(rows[f"{order[0]}.parquet#{number}"]) for number in range(2)] == PICTURES[:2]
    message = f"the image cell is empty, as all of '{column}' in this file"
    assert [rows[f"{order[1]}.parquet#{number}"].detail for number in range(2)] == [message] * 2


@pytest.mark.parametrize("has_type_later", [False, True], ids=["no value anywhere", "values in the second file"])
def test_few_files_are_opened_to_learn_the_type_of_a_column_without_values(
    tmp_path: Path, has_type_later: bool
) -> None:
    for number in range(table.MOST_OTHERS + 20):
        licence = ["CC"] if has_type_later and number else pa.nulls(1)
        dataset = write_table(tmp_path / "data", f"{number:03}.parquet", image=PICTURES[:1], licence=licence)
    paths: list[str] = []
    source = open_source(dataset)
    assert isinstance(source, table.TableSource)

    @contextmanager
    def open_counted(uri: str) -> Iterator[table.TableFile]:
        paths.append(uri)
        with source.open_file(uri) as file:
            yield file

    assert replace(source, open_file=open_counted).distance == "local"
    assert len(paths) == 1 + (2 if has_type_later else table.MOST_OTHERS)


def test_a_file_without_rows_and_columns_is_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "1.parquet")
    dataset = Dataset(source=str(tmp_path))
    assert read_refs(dataset) == []
    pq.write_table(pa.table({"image": PICTURES[:2]}), tmp_path / "2.parquet")
    assert [row.data for row in read_refs(dataset)] == PICTURES[:2]
    assert open_source(dataset).distance == "local"


def test_what_pandas_writes(tmp_path: Path) -> None:
    frame = pd.DataFrame({
        "image": PICTURES[:3],
        "caption": pd.Categorical(["a dog", "a cat", None]),
        "kind": pd.array([3, None, 5], dtype="Int64"),
        "gaps": [3.0, float("nan"), 5.0],
    })  # fmt: skip
    frame.to_parquet(tmp_path / "a.parquet")
    for label in ("kind", "gaps"):
        rows = read_refs(Dataset(source=str(tmp_path), references="caption", label=label))
        assert [(row.references, row.label) for row in rows] == [(["a dog"], "3"), (["a cat"], None), ([], "5")]
    as_texts = frame.astype({"gaps": str, "caption": str})
    as_texts.to_parquet(tmp_path / "a.parquet")
    rows = read_refs(Dataset(source=str(tmp_path), references="caption", label="gaps"))
    assert [(row.references, row.label) for row in rows] == [(["a dog"], "3"), (["a cat"], None), ([], "5")]


def test_what_spark_writes(tmp_path: Path) -> None:
    """INT96 times, binary texts, a folder of its own, and no pandas metadata."""
    times = pa.array([datetime.datetime(2026, 1, 1)] * 2, pa.timestamp("ns"))
    table = pa.table({"image": PICTURES[:2], "caption": pa.array([b"a", b"b"]), "at": times})
    pq.write_table(table, tmp_path / "part-0.parquet", use_deprecated_int96_timestamps=True)
    rows = read_refs(Dataset(source=str(tmp_path), references="caption", image="image"))
    assert [row.references for row in rows] == [["a"], ["b"]]
    rows = read_refs(Dataset(source=str(tmp_path), label="at", image="image"))
    assert {row.detail for row in rows} == {"label 'at': a Timestamp; write it as a text or number"}
