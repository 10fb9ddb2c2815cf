import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from offered import PICTURES, dataset_of, huggingface, jsonl, listed, read, webdataset_folder

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset
from ray_jobs.sources.labels import label_names, named

NAMES = ["tench", "goldfish", "great white shark"]


@pytest.mark.parametrize(
    "text", [json.dumps(NAMES), json.dumps({str(n): name for n, name in enumerate(NAMES)}), "\ufeff" + "\n".join(NAMES)]
)
def test_names_by_number(store: str, text: str) -> None:
    storage.write(f"{store}/names", text.encode())
    dataset = Dataset(source="x", label="label", label_names=f"{store}/names")
    assert label_names(dataset) == {"0": "tench", "1": "goldfish", "2": "great white shark"}
    assert named("1", label_names(dataset), dataset) == ("goldfish", "1")
    assert named(None, label_names(dataset), dataset) == (None, None)


def test_without_names_a_label_is_itself() -> None:
    dataset = Dataset(source="x", label="label")
    assert label_names(dataset) is None
    assert named("7", None, dataset) == ("7", None)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"0": ["n01440764", "tench"]}', "the name of '0' is not a text"),
        (b'{"tench": 0}', "the name of 'tench' is not a text"),
        (b'["tench", 3]', "the name of '1' is not a text"),
        (b'{"0": ', "not JSON"),
        (b"t\xe4nch", "not UTF-8 at byte 1"),
    ],
)
def test_a_file_of_names_that_is_none(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "names").write_bytes(data)
    with pytest.raises(BadInput, match=f"label_names {tmp_path}/names: {told}"):
        label_names(Dataset(source="x", label="label", label_names=str(tmp_path / "names")))


def folder(place: Path) -> Any:
    for key in ("n0", "n1"):
        (place / key).mkdir(parents=True)
        (place / key / "x.png").write_bytes(PICTURES[0])
    return {"source": place}


def parquet(place: Path) -> Any:
    pq.write_table(pa.table({"image": PICTURES[:2], "kind": ["n0", "n1"]}), place)
    return {"source": place, "format": "parquet"}


def manifest(place: Path) -> Any:
    return {"source": jsonl(place.with_suffix(".jsonl"), [{"file": "a", "kind": "n0"}, {"file": "b", "kind": "n1"}])}


@pytest.mark.parametrize("make", [folder, parquet, manifest])
def test_keys_get_names_and_one_without_a_name_is_told(tmp_path: Path, make: Any) -> None:
    settings = make(tmp_path / "data") | {"label": "kind", "label_names": str(tmp_path / "names.json")}
    (tmp_path / "names.json").write_text('{"n0": "tench", "n1": "goldfish"}')
    rows = read(dataset_of(settings))
    assert [(row.label, row.label_id) for row in rows] == [("tench", "n0"), ("goldfish", "n1")]
    located = listed(dataset_of(settings))
    (tmp_path / "names.json").write_text('{"n0": "tench"}')
    told = r"names\.json: no name for label 'n1'; it has 1 \(n0, \.\.\.\)"
    with pytest.raises(BadInput, match=told):
        read(dataset_of(settings), located)
    with pytest.raises(BadInput, match=told):
        listed(dataset_of(settings, stratify=True, limit=1))


def test_a_file_of_names_goes_before_those_of_a_class_label(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("gerade\nungerade\n")
    settings = huggingface(tmp_path / "data") | {"label": "kind", "label_names": str(tmp_path / "names.txt")}
    rows = read(dataset_of(settings))
    assert [(row.label, row.label_id) for row in rows][:2] == [("gerade", "0"), ("ungerade", "1")]


def test_names_for_a_webdataset(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('{"even": "gerade", "odd": "ungerade"}')
    settings = webdataset_folder(tmp_path / "data") | {"label": "kind", "label_names": str(tmp_path / "names.json")}
    rows = read(dataset_of(settings))
    assert [(row.label, row.label_id) for row in rows][:2] == [("gerade", "even"), ("ungerade", "odd")]
    (tmp_path / "names.json").write_text('{"even": "gerade"}')
    with pytest.raises(BadInput, match="no name for label 'odd'"):
        read(dataset_of(settings))
