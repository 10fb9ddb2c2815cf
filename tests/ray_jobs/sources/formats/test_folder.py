import json
import os
from pathlib import Path

import pytest
from image_formats import (
    PICTURES,
    list_refs,
    make_rows,
    measure_listing_peak,
    read_refs,
    write_csv,
    write_images,
    write_jsonl,
)

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.sources.open_source import open_source
from ray_jobs.storage import object_listing, objects, uris


def test_labelled_by_its_subfolders(store: str) -> None:
    for name in ("cat/1.png", "cat/2.JPG", "dog/1.jpeg", "notes.txt", "cat/.hidden.png"):
        objects.write(f"{store}/images/{name}", PICTURES[0])
    dataset = Dataset(source=f"{store}/images", label="class")
    rows = read_refs(dataset)
    expected = [("cat/1.png", "cat"), ("cat/2.JPG", "cat"), ("dog/1.jpeg", "dog")]
    assert [(row.image_id, row.label) for row in rows] == expected
    assert [ref.size for ref in list_refs(dataset)] == [len(PICTURES[0])] * 3
    there = [row.data if uris.is_s3(store) else row.file and row.file.read_bytes() for row in rows]
    assert there == [PICTURES[0]] * 3


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (["n01/images/1.png", "n02/images/1.png"], None), (["val/n01/images/1.png"], "val"),
        (["val/images/1.png"], "val"), (["cat/train/1.png", "cat/val/1.png"], "all"), (["JPEGImages/1.png"], None),
    ],
)  # fmt: skip
def test_folders_that_no_class_is_called_by_are_no_labels(tmp_path: Path, names: list[str], split: str | None) -> None:
    for name in names:
        objects.write(f"{tmp_path}/{name}", PICTURES[0])
    with pytest.raises(
        InputError, match=r"`label: class`: no folder that directly holds images is called by a class, "
    ):
        list_refs(Dataset(source=str(tmp_path), label="class", split=split))
    objects.write(f"{tmp_path}/val/cat/1.png", PICTURES[0])
    assert "cat" in {ref.label for ref in list_refs(Dataset(source=str(tmp_path), label="class", split=split or "all"))}


@pytest.mark.parametrize("name", ["val.jsonl", "out/part-00000.csv", "captions.json", "m.tsv.gz"])
@pytest.mark.parametrize("with_images", [False, True])
def test_a_manifest_in_a_folder_is_named(tmp_path: Path, name: str, with_images: bool) -> None:
    objects.write(f"{tmp_path}/{name}", b"x")
    if with_images:
        objects.write(f"{tmp_path}/0.png", PICTURES[0])
    dataset = Dataset(source=str(tmp_path), references="caption" if with_images else None)
    with pytest.raises(InputError, match=rf"; to read a manifest \({name}\), name it as `source`"):
        list_refs(dataset)


def test_skipped_files_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "assay")
    write_jsonl(write_images(tmp_path / "data") / "metadata.jsonl", make_rows())
    for number in range(5):
        (tmp_path / "data" / f"notes-{number}.txt").write_text("x")
    assert len(list_refs(Dataset(source=str(tmp_path / "data")))) == 7
    assert caplog.messages == [
        f"dataset {tmp_path}/data: passed over 5 not named like an image: notes-0.txt, notes-1.txt, notes-2.txt, ..."
    ]


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"none of its 1 files is named like an image \(\.jpg, \.png"):
        list_refs(Dataset(source=str(tmp_path)))


# --- metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_row_whose_file_is_not_there_is_counted(store: str, name: str, tmp_path: Path) -> None:
    rows = [
        {"file_name": "z.png", "caption": "gone"},
        {"file_name": "./b.png", "caption": "here"},
        {"file_name": "a.png", "caption": "gone too"},
    ]
    objects.write(f"{store}/it/b.png", PICTURES[1])
    objects.write(f"{store}/it/c.png", PICTURES[2])
    write = write_jsonl if name.endswith("jsonl") else write_csv
    objects.upload(write(tmp_path / name, rows), f"{store}/it/{name}")
    rows_read = read_refs(Dataset(source=f"{store}/it", references="caption"))
    assert [(row.image_id, row.references) for row in rows_read] == [
        ("b.png", ["here"]), ("c.png", []), ("z.png", ["gone"]), ("a.png", ["gone too"]),
    ]  # fmt: skip
    assert [row.detail for row in rows_read] == ["", "", *[f"named in {name} but not there"] * 2]
    assert [(row.data, row.file) == (None, None) for row in rows_read] == [False, False, True, True]


def test_a_file_that_the_metadata_names_is_an_image_under_any_name(tmp_path: Path) -> None:
    write_jsonl(write_images(tmp_path / "data") / "metadata.jsonl", [{"file_name": "original"}])
    (tmp_path / "data" / "original").write_bytes(PICTURES[0])
    assert list_refs(Dataset(source=str(tmp_path / "data")))[-1].image_id == "original"


def test_faulty_metadata_is_reported_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "000.png").write_bytes(PICTURES[0])
    first = '{"file_name": "000.png", "caption": "x", "kind": "cat"}\n'
    for line, message in (
        ('{"file_name": ', "is not a JSON object"),
        (
            '{"image_file": "a.png", "caption": "x"}',
            r"has no text `file_name` \(image_file, caption\); rename",
        ),
        ('{"file_name": 3}', r"has no text `file_name` \(file_name\)"),
        ("[]", "is not a JSON object"),
        ('{"file_name": "./000.png", "kind": "dog"}', "names ./000.png with the label 'dog', and with 'cat' before"),
    ):
        (tmp_path / "metadata.jsonl").write_text(first + line)
        with pytest.raises(InputError, match=rf"metadata\.jsonl: line 2 {message}"):
            list_refs(Dataset(source=str(tmp_path), references="caption", label="kind"))
    (tmp_path / "metadata.csv").write_text("file_name\n000.png\n")
    with pytest.raises(InputError, match=r"has both metadata\.jsonl and metadata\.csv; remove one"):
        list_refs(Dataset(source=str(tmp_path)))
    for name in ("metadata.jsonl", "metadata.csv"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match=r"references 'caption' need a metadata\.jsonl"):
        list_refs(Dataset(source=str(tmp_path), references="caption"))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_an_image_that_was_listed_and_cannot_be_read_is_trouble(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        objects.write(f"{store}/it/{number}.png", PICTURES[number])
    source = open_source(Dataset(source=f"{store}/it"))
    refs = list(source.list_images())
    objects.delete(f"{store}/it/1.png")
    with pytest.raises(RetryableError, match=r"1\.png was listed and cannot be read; is it mounted on this node too"):
        list(source.read(refs))
    objects.write(f"{store}/it/1.png", PICTURES[1])

    def unreachable(uri: str, at_most: int | None = None) -> bytes:
        raise RetryableError("connection lost")

    if uris.is_s3(store):
        monkeypatch.setattr(objects, "read", unreachable)
        with pytest.raises(RetryableError):  # else a moment's outage would be a reject of the golden set for good
            list(source.read(refs))


def test_a_link_to_nothing_is_a_row_without_data(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(PICTURES[0])
    (tmp_path / "1.png").symlink_to(tmp_path / "nowhere")
    source = open_source(Dataset(source=str(tmp_path)))
    rows = list(source.read(list(source.list_images())))
    assert [(row.data, row.file) == (None, None) for row in rows] == [False, True]
    assert rows[1].detail.endswith("1.png: no such file")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(PICTURES[0])
    (tmp_path / "caf\u00e9 \U0001f600.png").write_bytes(PICTURES[1])
    dataset = Dataset(source=str(tmp_path))
    for ref in list_refs(dataset):
        f"{ref.image_id}{ref.where}".encode()  # a table can hold them
    rows = read_refs(dataset)
    assert [row.image_id for row in rows] == ["caf\u00e9 \U0001f600.png", r"caf\udce9.png"]
    assert [row.file and row.file.read_bytes() for row in rows] == [PICTURES[1], PICTURES[0]]


def test_a_long_name_and_one_with_a_direction_mark_are_ids_as_they_are(tmp_path: Path) -> None:
    """Sanitising for a log would shorten the one and change the other."""
    names = [f"{'a' * 150}/{'b' * 150}-2.png", f"{'a' * 150}/{'b' * 150}.png", "\u200fx.png"]
    for name in names:
        objects.write(f"{tmp_path}/{name}", PICTURES[0])
    assert [row.image_id for row in read_refs(Dataset(source=str(tmp_path)))] == names


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 20_000
    with (tmp_path / "metadata.jsonl").open("w") as file:
        file.writelines(
            json.dumps({"file_name": f"{n // 1000:04d}/{n:07d}.png", "caption": f"picture {n}" * 5}) + "\n"
            for n in range(count)
        )
    entries = (object_listing.Entry(f"{n // 1000:04d}/{n:07d}.png", n, "v") for n in range(0, count, 10))
    monkeypatch.setattr(object_listing, "iterate_entries", lambda prefix: entries)
    source = open_source(Dataset(source=str(tmp_path), format="folder", references="caption"))
    assert measure_listing_peak(source, count) < 300_000
