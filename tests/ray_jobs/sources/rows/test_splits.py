"""`split` chooses the files or the rows of a split, and several splits are never mixed unless the suite says so."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_formats import PICTURES, list_refs, make_dataset, make_settings, read_refs, write_csv, write_jsonl

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.revision import source_revision
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects


def put_parquet(uri: str, captions: list[str], **columns: list[Any]) -> None:
    sink = io.BytesIO()
    pictures = [PICTURES[number % len(PICTURES)] for number in range(len(captions))]
    pq.write_table(pa.table({"image": pa.array(pictures, pa.binary()), "caption": captions, **columns}), sink)
    objects.write(uri, sink.getvalue())


def put_tar(uri: str, keys: list[str]) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for key in keys:
            for name, data in ((f"{key}.png", PICTURES[0]), (f"{key}.txt", key.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    objects.write(uri, sink.getvalue())


def hub_clone(place: str) -> None:
    for split, count in (("test", 2), ("train", 3), ("validation", 2)):
        for part in range(count):
            name = f"{split}-{part:05d}-of-{count:05d}.parquet"
            put_parquet(f"{place}/data/{name}", [f"{split} {part}"])


def folders_of_parquet(place: str) -> None:
    put_parquet(f"{place}/train/a.parquet", ["train 0"])
    put_parquet(f"{place}/val/a.parquet", ["validation 0", "validation 1"])


def partitions_of_parquet(place: str) -> None:
    put_parquet(f"{place}/split=train/a.parquet", ["train 0"])
    put_parquet(f"{place}/split=val/a.parquet", ["validation 0", "validation 1"])


def column_of_parquet(place: str) -> None:
    captions = ["train 0", "validation 0", "train 1", "validation 1"]
    put_parquet(f"{place}/part-0.parquet", captions, split=["train", "val", "train", "val"])


def tars(place: str) -> None:
    put_tar(f"{place}/cc3m-train-0000.tar", ["train 0"])
    put_tar(f"{place}/cc3m-validation-0000.tar", ["validation 0", "validation 1"])


def imagefolder(place: str) -> None:
    for split, count in (("train", 3), ("validation", 2)):
        rows = ["file_name,caption", *(f"{number}.png,{split} {number}" for number in range(count))]
        objects.write(f"{place}/{split}/metadata.csv", "\n".join(rows).encode())
        for number in range(count):
            objects.write(f"{place}/{split}/{number}.png", PICTURES[number])


def imagefolder_of_one_table(place: str) -> None:
    rows = ["file_name,caption,split", "a.png,train 0,train", "b.png,validation 0,val", "c.png,validation 1,val"]
    objects.write(f"{place}/metadata.csv", "\n".join(rows).encode())
    for number, name in enumerate("abc"):
        objects.write(f"{place}/{name}.png", PICTURES[number])


LAYOUTS = [
    hub_clone, folders_of_parquet, partitions_of_parquet, column_of_parquet, tars, imagefolder,
    imagefolder_of_one_table,
]  # fmt: skip


def texts_of(source: str, make: Any, **settings: Any) -> list[str]:
    rows = read_refs(Dataset(source=source, references="txt" if make is tars else "caption", **settings))
    return sorted(text for row in rows for text in row.references)


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_the_named_split_alone_is_read(store: str, make: Any) -> None:
    make(f"{store}/it")
    expected = ["validation 0", "validation 1"]
    assert texts_of(f"{store}/it", make, split="validation") == expected
    assert texts_of(f"{store}/it", make, split="val") == expected


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_splits_are_not_mixed_unless_the_suite_says_so(store: str, make: Any) -> None:
    make(f"{store}/it")
    with pytest.raises(InputError, match=r"are of the splits .*train.*, val.*; name the one to use, .*`split: all`"):
        texts_of(f"{store}/it", make)
    everything = texts_of(f"{store}/it", make, split="all")
    assert {text.split()[0] for text in everything} >= {"train", "validation"}


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_split_that_is_not_there_is_refused(store: str, make: Any) -> None:
    make(f"{store}/it")
    with pytest.raises(InputError, match=r"no split 'minival'; (known|did you mean)"):
        texts_of(f"{store}/it", make, split="minival")


@pytest.mark.parametrize("make", [hub_clone, folders_of_parquet, tars, imagefolder], ids=lambda make: make.__name__)
def test_plan_refuses_to_mix_splits_before_anything_is_prepared(store: str, make: Any) -> None:
    make(f"{store}/it")
    with pytest.raises(InputError, match=r"are of the splits .*; name the one to use"):
        source_revision(Dataset(source=f"{store}/it"))
    assert source_revision(Dataset(source=f"{store}/it", split="validation"))


def test_an_earlier_golden_set_of_all_splits_is_not_that_of_one(tmp_path: Path) -> None:
    hub_clone(str(tmp_path / "it"))
    revision = source_revision(Dataset(source=str(tmp_path / "it"), split="all"))
    put_parquet(str(tmp_path / "single" / "train.parquet"), ["x"])
    assert (
        source_revision(Dataset(source=str(tmp_path / "it"), split="test")) == revision
    )  # the split is in the id itself
    single = Dataset(source=str(tmp_path / "single"))
    assert source_revision(single) != source_revision(single.model_copy(update={"split": "train"}))


@pytest.mark.parametrize(
    ("settings", "files", "fault"),
    [
        ({"split": "test"}, ["a.parquet"], "no split 'test': neither the names of its files nor a column `split` tell"),
        ({"split": "test"}, ["train-0.parquet"], "no split 'test'; known: train"),
        ({"split": "test"}, ["0.tar"], "no split 'test'; its files are not named by splits: take `split` out"),
        ({"split": "val"}, ["val/a.parquet", "dev/a.parquet"], "dev and val both mean the split 'val';"),
        ({"split": "test"}, ["a.png"], "no split 'test'; its files are not named by splits: take `split` out"),
        ({"config": "nosuch"}, ["a.parquet"], "`config` is for a data set that is named on the Hugging Face hub"),
        ({"config": "nosuch"}, ["a.png"], "`config` is for .* or name the folder: `source: .*/it/nosuch`"),
        ({"image": "nosuch"}, ["a.png"], "`image: nosuch` names a column, and a folder of images has none"),
        ({"label": "kind"}, ["a.png"], "`label: kind` has no effect: no image lies in a subfolder"),
        ({"label": "kind", "split": "train"}, ["train/a.png"], "`label: kind` has no effect: no image lies in"),
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_without_effect_is_refused(
    tmp_path: Path, settings: dict[str, Any], files: list[str], fault: str
) -> None:
    for name in files:
        writers = {"parquet": lambda uri: put_parquet(uri, ["x"]), "tar": lambda uri: put_tar(uri, ["x"])}
        kind = name.rpartition(".")[2]
        writers.get(kind, lambda uri: objects.write(uri, PICTURES[0]))(str(tmp_path / "it" / name))
    with pytest.raises(InputError, match=fault) as error:
        list_refs(Dataset(source=str(tmp_path / "it"), **settings))
    assert "\n" not in str(error.value)


def test_a_split_of_a_data_set_saved_without_splits_is_refused(tmp_path: Path) -> None:
    make_dataset().save_to_disk(tmp_path / "it")
    with pytest.raises(InputError, match="it has no splits to take 'test' from; take `split` out"):
        list_refs(Dataset(source=str(tmp_path / "it"), split="test"))


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("train-{0..1}.tar", "`split: val` has no effect on a named file; take it out"),
        ("val-{0..1}.tar", None),
        ("val-0.tar", None),
        ("train-0.tar", "`split: val` has no effect on a named file"),
    ],
)
def test_a_split_of_named_shards(tmp_path: Path, source: str, fault: str | None) -> None:
    for name in ("train-0", "train-1", "val-0", "val-1"):
        put_tar(str(tmp_path / f"{name}.tar"), [name])
    dataset = make_settings({"source": tmp_path / source}, split="val")
    if fault:
        with pytest.raises(InputError, match=fault):
            list_refs(dataset)
    else:
        assert all(image.image_id.startswith("val") for image in list_refs(dataset))


def test_metadata_of_a_folder_chooses_among_folders_too(tmp_path: Path) -> None:
    rows = [{"file_name": f"{split}/{n}.png", "caption": f"{split} {n}"} for split in ("train", "val") for n in (0, 1)]
    write_jsonl(tmp_path / "metadata.jsonl", rows)
    for row in rows[:3]:
        objects.write(f"{tmp_path}/{row['file_name']}", PICTURES[0])
    rows_read = read_refs(Dataset(source=str(tmp_path), split="val", references="caption"))
    assert [(row.image_id, row.references, row.detail) for row in rows_read] == [
        ("val/0.png", ["val 0"], ""),
        ("val/1.png", ["val 1"], "named in metadata.jsonl but not there"),
    ]


def test_folders_of_several_configurations_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for language in ("en", "fr"):
        put_parquet(f"{tmp_path}/{language}/train-00000-of-00001.parquet", [language])
    assert len(list_refs(Dataset(source=str(tmp_path)))) == 2
    assert f"dataset {tmp_path}: holds shards in several folders (en, fr)" in " ".join(caplog.messages)


def test_a_split_without_metadata_of_its_own(tmp_path: Path) -> None:
    for split in ("train", "val"):
        objects.write(f"{tmp_path}/{split}/a.png", PICTURES[0])
    objects.write(f"{tmp_path}/train/metadata.csv", b"file_name,caption\na.png,x\n")
    assert [image.image_id for image in list_refs(Dataset(source=str(tmp_path), split="val"))] == ["val/a.png"]
    with pytest.raises(InputError, match=r"references 'caption' need a metadata\.jsonl or metadata\.csv"):
        list_refs(Dataset(source=str(tmp_path), split="val", references="caption"))


def test_files_of_another_format_give_no_split_at_plan_either(tmp_path: Path) -> None:
    objects.write(f"{tmp_path}/a.png", PICTURES[0])
    for split in ("train", "test"):  # notes of a tool; the images are of no split
        put_parquet(f"{tmp_path}/{split}.parquet", [split])
    assert source_revision(Dataset(source=str(tmp_path), format="folder"))
    assert [image.image_id for image in list_refs(Dataset(source=str(tmp_path), format="folder"))] == ["a.png"]
    with pytest.raises(InputError, match="are of the splits test, train"):
        source_revision(Dataset(source=str(tmp_path), format="parquet"))


@pytest.mark.parametrize("column", ["Split", "SPLIT", "set", "subset", "partition", "set_name"])
@pytest.mark.parametrize("name", ["m.csv", "metadata.csv", "a.parquet"])
def test_a_split_column_under_another_name(tmp_path: Path, column: str, name: str) -> None:
    rows = [{"file_name": f"{n}.png", column: word} for n, word in enumerate(["train", "val", "val"])]
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(PICTURES[number])
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        write_csv(tmp_path / name, rows)
    kind = "parquet" if name.endswith(".parquet") else "auto"
    source = str(tmp_path / name if name == "m.csv" else tmp_path)
    assert len(list_refs(Dataset(source=source, format=kind, split="validation"))) == 2
    assert len(list_refs(Dataset(source=source, format=kind, split="all"))) == 3
    with pytest.raises(InputError, match=r"its rows are of the splits train, val; name the one to use"):
        list_refs(Dataset(source=source, format=kind))


def test_a_set_that_is_no_split_chooses_nothing(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(PICTURES[0])
    write_csv(tmp_path / "m_val.csv", [{"image": "0.png", "set": "birds"}])
    assert len(list_refs(Dataset(source=str(tmp_path / "m_val.csv"), split="val"))) == 1
    assert len(list_refs(Dataset(source=str(tmp_path / "m_val.csv")))) == 1


def test_which_files_a_split_chose_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "assay")
    hub_clone(str(tmp_path))
    assert len(list_refs(Dataset(source=str(tmp_path), split="validation"))) == 2
    assert f"dataset {tmp_path}: 2 of 7 files are of the split validation" in caplog.messages


@pytest.mark.parametrize(
    ("files", "file_name"),
    [
        (["_temporary/0/task_1/b.parquet"], "passed over 1 that data tools wrote for themselves: _temporary/0/"),
        (["_delta_log/00000.checkpoint.parquet"], "is a Delta table: files that its log has removed are read too"),
        (["_tmp/b.parquet"], "passed over 1 that data tools wrote for themselves: _tmp/b.parquet"),
        (["_b.parquet"], "passed over 1 that data tools wrote for themselves: _b.parquet"),
        (["__MACOSX/b.parquet"], "passed over 1 that data tools wrote for themselves: __MACOSX/b.parquet"),
    ],
    ids=str,
)
def test_what_data_tools_wrote_for_themselves_is_passed_over(
    store: str, files: list[str], file_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "assay")
    put_parquet(f"{store}/it/a.parquet", ["a"])
    dataset = Dataset(source=f"{store}/it")
    before = source_revision(dataset)
    for name in files:
        put_parquet(f"{store}/it/{name}", ["never committed"])
    assert [image.image_id for image in list_refs(dataset)] == ["a.parquet#0"]
    assert any(file_name in line for line in caplog.messages)
    assert source_revision(dataset) == before  # it decides nothing, so it moves no id
