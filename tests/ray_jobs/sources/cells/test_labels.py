import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_formats import PICTURES, huggingface, list_refs, make_settings, read_refs, webdataset_folder, write_jsonl

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.revision import source_revision
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.cells.labels import name_label, read_label_names
from ray_jobs.storage import object_listing, objects

NAMES = ["tench", "goldfish", "great white shark"]


@pytest.mark.parametrize(
    "text", [json.dumps(NAMES), json.dumps({str(n): name for n, name in enumerate(NAMES)}), "\ufeff" + "\n".join(NAMES)]
)
def test_names_by_number(store: str, text: str) -> None:
    objects.write(f"{store}/names", text.encode())
    dataset = Dataset(source="x", label="label", label_names=f"{store}/names")
    assert read_label_names(dataset) == {"0": "tench", "1": "goldfish", "2": "great white shark"}
    assert name_label("1", read_label_names(dataset), dataset) == ("goldfish", "1")
    assert name_label(None, read_label_names(dataset), dataset) == (None, None)


def test_without_names_a_label_is_itself() -> None:
    dataset = Dataset(source="x", label="label")
    assert read_label_names(dataset) is None
    assert name_label("7", None, dataset) == ("7", None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"0": ["n01440764", "tench", "fish"]}', "the name of '0' is not a text"),
        (b'{"tench": 0.5}', "the name of 'tench' is not a text"),
        (b'["tench", 3]', "the name of '1' is not a text"),
        (b'{"0": ', "not JSON"),
        (b"t\xe4nch", "not UTF-8 at byte 1"),
    ],
)
def test_an_invalid_file_of_names(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "names").write_bytes(data)
    with pytest.raises(InputError, match=f"label_names {tmp_path}/names: {message}"):
        read_label_names(Dataset(source="x", label="label", label_names=str(tmp_path / "names")))


def folder(place: Path) -> Any:
    for key in ("n0", "n1"):
        (place / key).mkdir(parents=True)
        (place / key / "x.png").write_bytes(PICTURES[0])
    return {"source": place}


def parquet(place: Path) -> Any:
    pq.write_table(pa.table({"image": PICTURES[:2], "kind": ["n0", "n1"]}), place)
    return {"source": place, "format": "parquet"}


def manifest(place: Path) -> Any:
    return {
        "source": write_jsonl(place.with_suffix(".jsonl"), [{"file": "a", "kind": "n0"}, {"file": "b", "kind": "n1"}])
    }


@pytest.mark.parametrize("make", [folder, parquet, manifest])
def test_keys_get_names_and_a_key_without_a_name_is_reported(tmp_path: Path, make: Any) -> None:
    settings = make(tmp_path / "data") | {"label": "kind", "label_names": str(tmp_path / "names.json")}
    (tmp_path / "names.json").write_text('{"n0": "tench", "n1": "goldfish"}')
    rows = read_refs(make_settings(settings))
    assert [(row.label, row.label_id) for row in rows] == [("tench", "n0"), ("goldfish", "n1")]
    refs = list_refs(make_settings(settings))
    (tmp_path / "names.json").write_text('{"n0": "tench"}')
    message = r"names\.json: no name for label 'n1'; it has 1 \(n0, \.\.\.\)"
    with pytest.raises(InputError, match=message):
        read_refs(make_settings(settings), refs)
    with pytest.raises(InputError, match=message):
        list_refs(make_settings(settings, stratify=True, limit=1))


def test_a_file_of_names_goes_before_those_of_a_class_label(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("gerade\nungerade\n")
    settings = huggingface(tmp_path / "data") | {"label": "kind", "label_names": str(tmp_path / "names.txt")}
    rows = read_refs(make_settings(settings))
    assert [(row.label, row.label_id) for row in rows][:2] == [("gerade", "0"), ("ungerade", "1")]


def test_names_for_a_webdataset(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('{"even": "gerade", "odd": "ungerade"}')
    settings = webdataset_folder(tmp_path / "data") | {"label": "kind", "label_names": str(tmp_path / "names.json")}
    rows = read_refs(make_settings(settings))
    assert [(row.label, row.label_id) for row in rows][:2] == [("gerade", "even"), ("ungerade", "odd")]
    (tmp_path / "names.json").write_text('{"even": "gerade"}')
    with pytest.raises(InputError, match="no name for label 'odd'"):
        read_refs(make_settings(settings))


TENCH, SHARK = "tench, Tinca tinca", "great white shark"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("LOC_synset_mapping.txt", f"n01440764 {TENCH}\nn01484850 {SHARK}\n", {"n01440764": TENCH, "n01484850": SHARK}),
        ("ids.txt", "0: tench\n1: great white shark", {"0": "tench", "1": SHARK}),
        ("ids.txt", "7 tench\n\n9 great white shark\n", {"7": "tench", "9": SHARK}),
        ("ids.txt", "0,tench\n1,shark", {"0": "tench", "1": "shark"}),
        ("names.txt", "tench\ngreat white shark", {"0": "tench", "1": SHARK}),
        ("names.txt", "2 door car\nvan", {"0": "2 door car", "1": "van"}),
        ("index.json", '{"0": ["n01440764", "tench"]}', {"0": "tench", "n01440764": "tench"}),
        ("label2id.json", '{"tench": 0, "shark": 4}', {"0": "tench", "4": "shark"}),
        ("categories.json", '[{"id": 18, "name": "dog"}]', {"18": "dog"}),
        ("instances.json", '{"categories": [{"id": 18, "name": "dog"}]}', {"18": "dog"}),
        ("names.csv", f'id,name\nn01440764,"{TENCH}"\n', {"n01440764": TENCH}),
        ("names.csv", "name,id\ntench,0\n", {"0": "tench"}),
        ("names.csv", "n01440764,tench\nn01484850,shark\n", {"n01440764": "tench", "n01484850": "shark"}),
        ("names.tsv", "id\tname\n3\ttench\n", {"3": "tench"}),
        ("names.csv", "tench\nshark\n", {"0": "tench", "1": "shark"}),
        ("names.csv", "class\ntench\nshark\n", {"0": "tench", "1": "shark"}),
        ("names.csv", 'name\n"tench, Tinca"\n', {"0": "tench, Tinca"}),
        ("names.csv", "id,synonyms\n0,tench\n", {"0": "tench"}),
        ("names.csv", "name,number\ntench,7\n", {"7": "tench"}),
        ("names.csv", f"{TENCH}\nshark\n", {"0": TENCH, "1": "shark"}),  # lines, as they always were
        ("names.csv", f"shark\n{TENCH}\n", {"0": "shark", "1": TENCH}),
    ],
)
def test_names_with_their_ids(tmp_path: Path, name: str, text: str, expected: dict[str, str]) -> None:
    (tmp_path / name).write_text(text)
    assert read_label_names(Dataset(source="x", label="k", label_names=str(tmp_path / name))) == expected


@pytest.mark.parametrize(("text", "is_another"), [("0: tench\n1: shark", True), ("tench\nshark", False)])
def test_names_that_are_read_otherwise_than_before_are_another_revision(
    tmp_path: Path, text: str, is_another: bool
) -> None:
    (tmp_path / "a.png").write_bytes(PICTURES[0])
    names = tmp_path.parent / f"{tmp_path.name}.txt"
    names.write_text(text)
    dataset = Dataset(source=str(tmp_path), label="k", label_names=str(names))
    entry = object_listing.find_entry(str(names))
    assert entry
    file = object_listing.find_entry(str(tmp_path / "a.png"))
    assert file
    revision = hashlib.sha256(f"{json.dumps(['a.png', file.size, file.version])}\n".encode())
    revision.update(json.dumps(["label_names", entry.size, entry.version]).encode())
    assert (source_revision(dataset) != revision.hexdigest()[:16]) == is_another


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("names.csv", "id,name\n0,tench\n0,shark\n", "an id stands there twice; give each one name"),
        ("data.yaml", "names:\n  0: tench\nnc: 1\n", r"a \.yaml file, which is not read; give a JSON object of names"),
        ("map.pbtxt", "item {\n  id: 0\n}\n", r"a \.pbtxt file, which is not read"),
        ("names.txt", "# the classes\ntench\n", "the line '# the classes' is no name; give"),
        ("names.txt", "names:\n- tench\n", "the line 'names:' is no name; give"),
        ("names.txt", "0: tench\n1: shark\nray\n", "the line 'ray' has no id as the others; correct it"),
        ("names.txt", "n01440764 tench\nn01440764 shark\n", "the id 'n01440764' stands there twice"),
        (
            "names.csv",
            "id,count,synonyms\n0,50,tench\n",
            "cannot tell which column has the names: id, count, synonyms; call it name",
        ),
        ("names.csv", "number,count,name\n0,50,tench\n", "cannot tell which column has the ids: .*; call it id"),
        ("names.csv", "id,name\n0\n", "the row '0' has too few columns; write an id and a name a row"),
        ("names.csv", 'id,name\n0,"ten\n', "correct its quotes"),
        ("names.txt", "0: tench\n1:\n", "the line '1:' has no name behind its id; add it"),
    ],
)
def test_an_invalid_table_of_names(tmp_path: Path, name: str, text: str, fault: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"label_names {tmp_path}/{name}: .*{fault}"):
        read_label_names(Dataset(source="x", label="k", label_names=str(tmp_path / name)))


def test_a_label_without_a_name_is_reported_with_the_form_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "n01440764").mkdir()
    (tmp_path / "n01440764" / "a.png").write_bytes(PICTURES[0])
    (tmp_path / "names.txt").write_text("tench\nshark\n")
    with pytest.raises(InputError, match=r"no name for label 'n01440764'; .* by a line `n01440764 its name`"):
        list_refs(Dataset(source=str(tmp_path), label="k", label_names=str(tmp_path / "names.txt")))
