import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from image_formats import (
    PICTURES,
    list_refs,
    measure_listing_peak,
    read_bytes,
    read_refs,
    write_csv,
    write_images,
    write_jsonl,
)
from reply_server import Reply, serve_replies

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.open_source import open_source
from ray_jobs.sources.reading import web
from ray_jobs.storage import objects


def test_paths_of_every_kind_in_one_manifest(store: str, tmp_path: Path) -> None:
    write_images(tmp_path / "local")
    objects.write(f"{store}/sets/images/1.png", PICTURES[1])
    objects.write(f"{store}/sets/2.png", PICTURES[2])
    with serve_replies(lambda path, _: Reply(body=PICTURES[3])) as address:
        names = [str(tmp_path / "local" / "000.png"), "images/1.png", "./images/../2.png", f"{address}/x?y=1", "no.png",
                 "gs://b/x.png"]  # fmt: skip
        objects.upload(write_jsonl(tmp_path / "m.jsonl", [{"path": name} for name in names]), f"{store}/sets/m.jsonl")
        rows = read_refs(Dataset(source=f"{store}/sets/m.jsonl"))
    images = [row.file.read_bytes() if row.file else row.data for row in rows]
    assert images == [PICTURES[0], PICTURES[1], PICTURES[2], PICTURES[3], None, None]
    assert [row.image_id for row in rows] == [*names[:3], web.redact_url(names[3]), *names[4:]]
    assert f"{store}/sets/no.png" in rows[4].detail
    assert "places of the scheme 'gs' are not read" in rows[5].detail


def test_objects_named_from_a_local_manifest(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SOURCES", s3)
    objects.write(f"{s3}/a.png", PICTURES[0])
    dataset = Dataset(source=str(write_jsonl(tmp_path / "m.ndjson", [{"uri": f"{s3}/a.png"}, {"uri": f"{s3}/b.png"}])))
    assert open_source(dataset).distance == "object-store"
    rows = read_refs(dataset)
    assert [row.data for row in rows] == [PICTURES[0], None]
    assert f"{s3}/b.png" in rows[1].detail


def test_a_row_that_names_no_image_is_counted_and_a_name_given_twice_is_two(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"file": "a.png"},
        {"file": ""},
        {"file": "a.png"},
        {"file": None},
        {"other": 1},
        {"file": "5"},
    ]
    rows_read = read_refs(Dataset(source=str(write_jsonl(tmp_path / "m.jsonl", rows))))
    assert [row.image_id for row in rows_read] == ["a.png", "2", "a.png#3", "4", "5", "5#6"]
    assert [row.detail for row in rows_read][1] == "the row names no image"


def test_a_row_whose_cells_cannot_be_read_is_a_reject_and_stops_no_other(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"file": 3}, {"file": ["a", "b"]}, {"file": "a.png", "said": {"en": "a", "de": "b"}},
        {"file": "b.png", "kind": [0, 1, 0]}, {"file": "c.png", "said": "fine", "kind": [2, 1]},
    ]  # fmt: skip
    rows_read = read_refs(Dataset(source=str(write_jsonl(tmp_path / "m.jsonl", rows)), references="said", label="kind"))
    assert [(row.image_id, row.detail) for row in rows_read] == [
        ("1", "its image: a number (3); write a path, a URL or the bytes of a file"),
        ("2", "its image: 2 images in one row; give each image a row"),
        ("a.png", "references 'said': an object ({en, de}) without one obvious text; name a column of texts"),
        ("b.png", "label 'kind': 3 times 0 or 1, as if one-hot; write the ids or names of the row's labels"),
        ("c.png", f"{tmp_path}/c.png: no such file"),
    ]
    assert [(row.label, row.references) for row in rows_read][-1] == ("2, 1", ["fine"])


def test_an_image_in_the_line_itself_is_named_by_its_line(tmp_path: Path) -> None:
    encoded = base64.b64encode(PICTURES[0]).decode()
    rows: list[dict[str, Any]] = [
        {"image": encoded},
        {"image": f"data:image/png;base64,{encoded}"},
        {"image": [{"bytes": encoded}]},
    ]
    dataset = Dataset(source=str(write_jsonl(tmp_path / "m.jsonl", rows)))
    assert [(row.image_id, row.data) for row in read_refs(dataset)] == [(name, PICTURES[0]) for name in "123"]
    assert open_source(dataset).distance == "local"


def test_backslashes_of_windows_lead_to_the_file(store: str, tmp_path: Path) -> None:
    for number, name in enumerate(("img/cat/0.png", "img/cat/1.png")):
        objects.write(f"{store}/set/{name}", PICTURES[number])
    names = ["img\\cat\\0.png", ".\\img\\cat\\1.png", "C:\\img\\2.png", "img\\..\\..\\..\\3.png"]
    objects.upload(write_jsonl(tmp_path / "m.jsonl", [{"path": name} for name in names]), f"{store}/set/m.jsonl")
    rows = read_refs(Dataset(source=f"{store}/set/m.jsonl"))
    assert [read_bytes(row) for row in rows[:2]] == PICTURES[:2]
    assert [row.image_id for row in rows] == names
    message = "C:\\img\\2.png: no such file: a path of Windows; write it relative to the data set, with /"
    assert rows[2].detail == message
    assert (rows[3].data, rows[3].file) == (None, None)


def test_csv_with_quoted_lines_a_mark_at_its_start_and_empty_cells(tmp_path: Path) -> None:
    text = (
        '\ufefffile_name,caption,kind\r\na.png,"two\r\nlines, ""so""",x\r\n\r\nb.png,,\r\nc.png,"[""p"", ""q""]",[z\r\n'
    )
    (tmp_path / "m.csv").write_bytes(text.encode())
    rows = read_refs(Dataset(source=str(tmp_path / "m.csv"), references="caption", label="kind"))
    assert [row.references for row in rows] == [['two\r\nlines, "so"'], [], ["p", "q"]]
    assert [row.label for row in rows] == ["x", None, "[z"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.jsonl", '{"file": "a"}\n\n[1]', "line 3 is not a JSON object"),
        ("m.jsonl", '{"file": "a"}\n{"file": "\xff"}', "line 2 is not UTF-8"),
        ("m.csv", "file,x\na,b\n\nc", "line 4 has 1 columns where line 1 names 2"),
        ("m.csv", 'file,x\na,"b\nc,d\n', r"line 2: unexpected end of data; correct its quotes"),
        ("m.csv", "file,file\na,b\n", "line 1 names a column twice"),
        ("m.tsv", "file\tx\na,b\n", "line 2 has 1 columns where line 1 names 2"),
        ("m.csv", "file,x\n", "has no rows"),
        ("m.jsonl", "", "has no rows"),
        ("m.jsonl", '{"a": 1, "b": 2}', "cannot tell which of its columns names the images: a, b; set `dataset.image`"),
    ],
)
def test_faulty_manifests_are_reported_by_file_and_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"dataset {tmp_path}/{name}: {message}") as error:
        list_refs(Dataset(source=str(tmp_path / name)))
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_manifest_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.yaml: not a manifest by its name; it must end in one of \.jsonl, \.ndj"):
        open_source(Dataset(source=str(tmp_path / "m.yaml"), format="manifest"))


def test_a_manifest_that_is_not_there(store: str) -> None:
    with pytest.raises(InputError, match=rf"dataset {store}/m\.csv: no such file; check the URI"):
        list_refs(Dataset(source=f"{store}/m.csv"))


def test_a_column_that_only_later_rows_have_is_one(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"file": f"{number}.png"} for number in range(200)] + [
        {"file": "x.png", "caption": "late"}
    ]
    dataset = Dataset(source=str(write_jsonl(tmp_path / "m.jsonl", rows)), references="caption")
    assert list_refs(dataset)[-1].references == ["late"]


def test_names_that_no_file_can_have_are_rows_without_data(tmp_path: Path) -> None:
    names = ["nul\0byte.png", "x" * 5000, "lone \ud800.png"]
    rows = read_refs(Dataset(source=str(write_jsonl(tmp_path / "m.jsonl", [{"file": name} for name in names]))))
    assert [(row.data, row.file) == (None, None) and bool(row.detail) for row in rows] == [True] * 3
    assert all("\n" not in row.detail and row.detail.encode() for row in rows)


def test_a_list_of_references_in_csv_is_that_of_jsonl(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"file": "a", "said": ["one", "two"]}, {"file": "b", "said": "[not json"}]
    ways = [
        write_jsonl(tmp_path / "m.jsonl", rows),
        write_csv(tmp_path / "m.csv", rows),
        write_csv(tmp_path / "m.tsv", rows, "\t"),
    ]
    for path in ways:
        references = [ref.references for ref in list_refs(Dataset(source=str(path), references="said"))]
        assert references == [["one", "two"], ["[not json"]]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    count = 20_000
    with (tmp_path / "m.jsonl").open("w") as file:
        file.writelines(json.dumps({"file": f"{n:07d}.png", "said": f"picture {n}" * 5}) + "\n" for n in range(count))
    source = open_source(Dataset(source=str(tmp_path / "m.jsonl"), references="said"))
    assert os.path.getsize(tmp_path / "m.jsonl") > 1_000_000
    assert measure_listing_peak(source, count) < 300_000
