"""Annotation files in the forms that users have: the rows of each, or the line that refuses it."""

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from image_formats import PICTURES, list_refs, read_refs

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.revision import source_revision
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.formats import manifest
from ray_jobs.sources.open_source import open_source
from ray_jobs.sources.rows.json_stream import JsonStream
from ray_jobs.storage import objects

COCO: dict[str, Any] = {
    "info": {"year": 2017, "contributor": "COCO"},
    "licenses": [{"id": 1, "name": "CC"}],
    "images": [{"id": 139, "file_name": "a.png", "height": 8}, {"id": 285, "file_name": "sub/b.png", "height": 8}],
    "annotations": [
        {"id": 1, "image_id": 139, "caption": "A dog."},
        {"id": 2, "image_id": 285, "caption": "A cat."},
        {"id": 3, "image_id": 139, "caption": "One dog runs."},
    ],
}
INSTANCES = COCO | {
    "annotations": [
        {"id": 1, "image_id": 139, "category_id": 18, "segmentation": [[1.5, 2, 3, 4]], "iscrowd": 0},
        {"id": 2, "image_id": 139, "category_id": 18},
    ],
    "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
}
KARPATHY = {
    "images": [
        {"filepath": "sub", "filename": "b.png", "imgid": 0, "split": "test", "sentids": [0],
         "sentences": [{"tokens": ["a", "cat"], "raw": "A cat.", "imgid": 0, "sentid": 0}]},
        {"filename": "a.png", "imgid": 1, "split": "val",
         "sentences": [{"tokens": [], "raw": "A dog.", "sentid": 1}, {"tokens": [], "raw": "One dog.", "sentid": 2}]},
    ],
    "dataset": "coco",
}  # fmt: skip
LLAVA = [
    {"id": "1", "image": "a.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"},
                                                    {"from": "gpt", "value": "A dog."}]},
]  # fmt: skip
DOG, CAT = ("a.png", ["A dog.", "One dog runs."]), ("sub/b.png", ["A cat."])
FORMS: dict[str, tuple[str, Any, dict[str, Any], list[tuple[str, list[str]]]]] = {
    "coco captions": ("captions.json", COCO, {"references": "caption"}, [DOG, CAT]),
    "annotations before images": (
        "captions.json", dict(sorted(COCO.items())), {"references": "caption"}, [DOG, CAT],
    ),
    "coco without annotations": ("image_info.json", {"images": COCO["images"]}, {}, [(DOG[0], []), (CAT[0], [])]),
    "karpathy's validation": ("dataset_coco.json", KARPATHY, {"references": "sentences", "split": "val"},
                              [("a.png", ["A dog.", "One dog."])]),
    "karpathy, all": ("dataset_coco.json", KARPATHY, {"references": "sentences", "split": "all"},
                      [CAT, ("a.png", ["A dog.", "One dog."])]),
    "llava": ("llava.json", LLAVA, {"references": "conversations"}, [("a.png", ["A dog."])]),
    "a list of objects": ("list.json", [{"file": "a.png", "text": ["A dog."]}], {"references": "text"},
                          [("a.png", ["A dog."])]),
    "a list of names": ("list.json", ["a.png", "sub/b.png"], {}, [("a.png", []), ("sub/b.png", [])]),
    "texts by name": ("captions.json", {"a.png": ["A dog.", "One dog runs."], "sub/b.png": "A cat."},
                      {"references": "caption"}, [DOG, CAT]),
    "a list in an object": ("data.json", {"version": 1, "data": [{"image": "a.png", "text": "A dog."}]},
                            {"references": "text"}, [("a.png", ["A dog."])]),
    "a list for each split": ("data.json", {"train": [{"image": "a.png", "text": "A dog."}],
                                            "val": [{"image": "sub/b.png", "text": "A cat."}]},
                              {"references": "text", "split": "validation"}, [CAT]),
    "ids as texts": ("captions.json", COCO | {"annotations": [annotation | {"image_id": str(annotation["image_id"])}
                                                              for annotation in COCO["annotations"]]},
                     {"references": "caption"}, [DOG, CAT]),
    "ids with a point": ("captions.json", COCO | {"images": [image | {"id": float(image["id"])}
                                                             for image in COCO["images"]]},
                         {"references": "caption"}, [DOG, CAT]),
    "flickr8k tokens": ("Flickr8k.token.txt", "a.png#0\tA dog.\na.png#1\tOne dog runs.\nsub/b.png#0\tA cat.\n",
                        {"references": "caption"}, [DOG, CAT]),
    "flickr30k tokens": ("results_20130124.token", "a.png#0\tA dog.\na.png#1\tOne dog runs.\n",
                         {"references": "caption"}, [DOG]),
    "flickr30k pipes": ("results.csv",
                        "image_name| comment_number| comment\na.png| 0| A dog.\na.png| 1| One dog runs.\n",
                        {"references": "comment"}, [DOG]),
    "kaggle's captions.txt": ("captions.txt", 'image,caption\na.png,A dog.\na.png,"One dog runs."\n',
                              {"references": "caption"}, [DOG]),
    "names and captions by tabs": ("captions.txt", "a.png\tA dog.\na.png\tOne dog runs.\n", {"references": "caption"},
                                   [DOG]),
    "a path a line": ("list.txt", "a.png\n\nsub/b.png\n", {}, [("a.png", []), ("sub/b.png", [])]),
    "semicolons": ("list.csv", "image;caption\na.png;A dog.\n", {"references": "caption"}, [("a.png", ["A dog."])]),
    "one row a caption": ("m.csv", "image,caption\na.png,A dog.\nsub/b.png,A cat.\n./a.png,One dog runs.\n",
                          {"references": "caption"}, [DOG, CAT]),
    "the same row twice": ("m.csv", "image,caption\na.png,A dog.\na.png,A dog.\n", {"references": "caption"},
                           [("a.png", ["A dog."])]),
    "json lines called json": ("m.json", '{"image": "a.png", "t": "A dog."}\n{"image": "sub/b.png", "t": "A cat."}\n',
                               {"references": "t"}, [("a.png", ["A dog."]), CAT]),
    "a split column": ("m.csv", "image,split,caption\na.png,train,A dog.\nsub/b.png,val,A cat.\n",
                       {"references": "caption", "split": "validation"}, [CAT]),
    "a file of one split": ("captions_val2017.json", COCO, {"references": "caption", "split": "val"}, [DOG, CAT]),
    "quotes are text in a TSV": ("m.tsv", 'image\tcaption\na.png\t"stop" sign\nsub/b.png\tA cat.\n',
                                 {"references": "caption"}, [("a.png", ['"stop" sign']), CAT]),
    "an open quote in a TSV": ("m.tsv", 'image\tcaption\na.png\t"stop\nsub/b.png\tA cat.\n',
                               {"references": "caption"}, [("a.png", ['"stop']), CAT]),
    "a TSV as pandas writes it": ("m.tsv", 'image\tcaption\na.png\t"say ""hi""\nto me"\nsub/b.png\tA cat.\n',
                                  {"references": "caption"}, [("a.png", ['say "hi"\nto me']), CAT]),
}  # fmt: skip


def write_annotations(place: str, name: str, content: Any) -> None:
    for number, image in enumerate(("a.png", "sub/b.png")):
        objects.write(f"{place}/{image}", PICTURES[number])
    data = (content if isinstance(content, str) else json.dumps(content)).encode()
    objects.write(f"{place}/{name}", gzip.compress(data) if name.endswith(".gz") else data)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_of_each_form(tmp_path: Path, form: str, packed: str) -> None:
    name, content, settings, expected = FORMS[form]
    write_annotations(str(tmp_path), f"{name}{packed}", content)
    dataset = Dataset(source=str(tmp_path / f"{name}{packed}"), **settings)
    assert source_revision(dataset)
    rows = read_refs(dataset)
    assert [(row.image_id, row.references) for row in rows] == expected
    assert all(row.file and row.file.read_bytes() in PICTURES for row in rows)


@pytest.mark.parametrize("form", ["coco captions", "karpathy's validation", "flickr8k tokens", "flickr30k pipes"])
def test_the_same_on_an_object_store(s3: str, form: str) -> None:
    name, content, settings, expected = FORMS[form]
    write_annotations(f"{s3}/it", name, content)
    dataset = Dataset(source=f"{s3}/it/{name}", **settings)
    rows = read_refs(dataset)
    assert [(row.image_id, row.references) for row in rows] == expected
    assert all(row.data in PICTURES for row in rows)
    assert open_source(dataset).distance == "object-store"


def test_categories_of_coco_are_labels_each_once(tmp_path: Path) -> None:
    write_annotations(str(tmp_path), "instances.json", INSTANCES)
    rows = read_refs(Dataset(source=str(tmp_path / "instances.json"), label="category"))
    assert [(row.image_id, row.label) for row in rows] == [("a.png", "dog"), ("sub/b.png", None)]


@pytest.mark.parametrize("folder", ["val2017", "images/val2017", "images"])
def test_the_images_of_coco_lie_beside_its_annotations(store: str, folder: str) -> None:
    write_annotations(f"{store}/coco/{folder}", "unused.txt", "")
    objects.write(f"{store}/coco/annotations/captions_val2017.json", json.dumps(COCO).encode())
    dataset = Dataset(source=f"{store}/coco/annotations/captions_val2017.json", references="caption")
    before = source_revision(dataset)
    rows = read_refs(dataset)
    assert [(row.references, row.detail) for row in rows] == [(DOG[1], ""), (CAT[1], "")]
    objects.write(f"{store}/coco/{folder}/a.png", PICTURES[5] + b" ")
    assert source_revision(dataset) != before


def test_what_jobs_write_below_a_root_beside_the_file_is_no_other_content(store: str) -> None:
    write_annotations(f"{store}", "list.json", '[{"image": "a.png"}]')
    dataset = Dataset(source=f"{store}/list.json")
    before = source_revision(dataset)
    objects.write(f"{store}/assay/golden/{'0a' * 8}/preview.png", PICTURES[0])
    assert source_revision(dataset) == before
    objects.write(f"{store}/golden/preview.png", PICTURES[0])
    assert source_revision(dataset) != before


def test_the_folder_of_the_images_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects.write(f"{tmp_path}/coco/val2017/a.png", PICTURES[0])
    objects.write(f"{tmp_path}/coco/annotations/captions_val2017.json", json.dumps(COCO).encode())
    source = open_source(Dataset(source=f"{tmp_path}/coco/annotations/captions_val2017.json", references="caption"))
    listing = list(source.list_images())
    copy = pickle.loads(pickle.dumps(source))
    monkeypatch.setattr(manifest, "find_image_folder", lambda _: pytest.fail("looked for again"))
    for ref in listing:
        assert next(source.read([ref])).image_id == next(copy.read([ref])).image_id == ref.image_id


@pytest.mark.parametrize("images", ["../pictures", "../pictures/", "absolute"])
def test_a_suite_names_the_folder_of_the_images(store: str, images: str) -> None:
    write_annotations(f"{store}/pictures", "unused.txt", "")
    objects.write(f"{store}/texts/m.csv", b"image,caption\na.png,A dog.\n")
    place = f"{store}/pictures" if images == "absolute" else images
    dataset = Dataset(source=f"{store}/texts/m.csv", references="caption", images=place)
    before = source_revision(dataset)
    assert [(row.image_id, row.detail) for row in read_refs(dataset)] == [("a.png", "")]
    objects.write(f"{store}/pictures/a.png", PICTURES[5] + b" ")
    assert source_revision(dataset) != before


@pytest.mark.parametrize("images", ["/", "/tmp/..", "/proc/self/root"])
def test_the_root_of_the_system_is_no_folder_of_images(tmp_path: Path, images: str) -> None:
    write_annotations(str(tmp_path), "m.csv", "image\na.png\n")
    with pytest.raises(InputError, match="the system"):
        source_revision(Dataset(source=str(tmp_path / "m.csv"), images=images))


def test_the_revision_of_a_plain_manifest_is_that_of_its_file(tmp_path: Path) -> None:
    write_annotations(str(tmp_path), "m.csv", "image\na.png\n")
    before = source_revision(Dataset(source=str(tmp_path / "m.csv")))
    objects.write(str(tmp_path / "a.png"), PICTURES[5])
    assert source_revision(Dataset(source=str(tmp_path / "m.csv"))) == before


@pytest.mark.parametrize(
    ("name", "content", "settings", "fault"),
    [
        ("d.json", KARPATHY, {}, "its rows are of the splits test, val; name the one to use, `split: ...`"),
        ("d.json", KARPATHY, {"split": "tset"}, "no split 'tset'; did you mean 'test'"),
        ("d.json", COCO, {"references": "captoin"}, "no column 'captoin' for references; did you mean 'caption'"),
        ("d.json", {"questions": [{"image_id": 1, "question": "What?"}]}, {}, "JSON of no form .*it holds questions"),
        ("d.json", {"info": {}, "type": "x"}, {}, r"JSON of no form that is read here \(it holds info, type\)"),
        ("d.json", {"annotations": [{"image_id": 1, "caption": "x"}]}, {}, "it has no `images`, so nothing names"),
        ("d.json", {"images": [{"id": 1, "file_name": "a.png"}] * 2}, {}, "two images have the id 1; give each"),
        ("d.json", {"train": [{"image": "a.png"}], "val": [{"image": "sub/b.png"}]}, {},
         "its rows are of the splits train, val; name the one to use"),
        ("d.json", {"seen": [{"image": "a.png"}], "unseen": [{"image": "sub/b.png"}]}, {},
         "its lists 'seen' and 'unseen' both name images; write them as one list"),
        ("d.json", INSTANCES | {"annotations": [{"id": 1, "image_id": 139, "category_id": 7}]}, {"label": "category"},
         "`categories` has no name for 7; add it"),
        ("d.json", INSTANCES | {"categories": [{"id": 18}]}, {"label": "category"},
         "`categories` has no name for 18; add it"),
        ("d.json", "[1]", {}, "entry 1 is not an object; write one an image"),
        ("d.json", '[{"image": "a.png"}', {}, "is cut off, or is no JSON|a comma is missing"),
        ("d.json", '{"images": [', {}, "is cut off, or is no JSON"),
        ("d.json", '[{"image": "a.png"}] x', {}, "goes on behind the end of its JSON"),
        ("d.json", "3", {}, "is neither a JSON object nor a list"),
        ("d.json", "[" * 100_000, {}, "is nested too deep|is cut off"),
        ("d.json", [{"image": "no.png"}], {}, "no.png is not in .*, nor are the next images; set `images`"),
        ("d.txt", "just a note\n", {}, "line 1 names no image; write image#0<TAB>caption, "),
        ("d.txt", "a.png\tn01440764\t0\t0\t62\t62\n", {"references": "caption"},
         "line 1 has 6 cells without names; write a .tsv with a header"),
        ("d.csv", "image,caption\ra.png,x\r", {}, r"its lines end with \\r alone, as on old Macs; save it with \\n"),
        ("d.jsonl", '{"image": "a.png"}\r{"image": "b.png"}\r', {}, r"its lines end with \\r alone"),
        ("d.csv", "image,caption,kind\na.png,x,cat\na.png,y,dog\n", {"references": "caption", "label": "kind"},
         "line 3 names a.png with the label 'dog', and with 'cat' before; give each image one row"),
        ("d.csv", "image,caption\na.png,x\n", {"split": "val"}, "no split 'val': neither the names of its files nor a"),
        ("d.csv", "image,split\na.png,train\nsub/b.png,val\n", {}, "its rows are of the splits train, val; name the"),
        ("d.csv", "image_name| comment_number| comment\na.png| 0   A dog.\n", {}, "line 2 has 2 columns where line 1"),
        ("d.jsonl.gz", "x", {}, "line 1 is not a JSON object"),
        ("d.zip", "x", {}, r"a file of no format that is read here \(\.zip\); unpack it and name the folder"),
        ("d.xyz", "x", {}, r"a file of no format that is read here \(\.xyz\); name one of \.parquet"),
        ("d", "x", {}, r"a file of no format that is read here \(no suffix\)"),
        ("a.png", "x", {}, r"a file of no format that is read here \(\.png\); it is one image: name its folder"),
        ("d.xlsx", "x", {}, "save its sheet as .csv"),
    ],
)  # fmt: skip
def test_an_unsupported_file_is_an_error_of_one_line(
    tmp_path: Path, name: str, content: Any, settings: dict[str, Any], fault: str
) -> None:
    write_annotations(str(tmp_path), name, content)
    with pytest.raises(InputError, match=fault) as error:
        list_refs(Dataset(source=str(tmp_path / name), **settings))
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_unpacking_that_fails_is_reported(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(b'{"image": "a.png"}\n' * 100)[:-12])
    with pytest.raises(InputError, match=r"m\.jsonl\.gz: not readable: .*end"):
        list_refs(Dataset(source=str(tmp_path / "m.jsonl.gz")))


def test_annotations_of_unknown_images_are_counted_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_annotations(
        str(tmp_path), "d.json", COCO | {"annotations": [*COCO["annotations"], {"image_id": 9, "caption": "x"}]}
    )
    list_refs(Dataset(source=str(tmp_path / "d.json"), references="caption"))
    assert f"dataset {tmp_path}/d.json: 1 annotations are of images that it does not list (9)" in caplog.messages


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_a_document_is_the_same_in_pieces_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    document = {"é\u2028": [1, 12.5e3, '\u00e9\\"', {"a": [[], {}]}, None, True], "b": {"c": -7}, "d": [], "e": 10}
    (tmp_path / "d.json").write_text("\ufeff" + json.dumps(document, indent=1, ensure_ascii=False), "utf-8")
    monkeypatch.setattr("ray_jobs.sources.rows.json_stream.CHUNK", chunk)
    built: dict[str, Any] = {"d": []}
    with (tmp_path / "d.json").open("rb") as file:
        for key, value, is_listed in JsonStream("d.json", file).entries():
            if is_listed:
                built.setdefault(key, []).append(value)
            else:
                built[key] = value
    assert built == document


def test_annotations_beside_their_images_whose_name_begins_with_an_underscore(tmp_path: Path) -> None:
    write_annotations(str(tmp_path / "valid"), "_annotations.coco.json", INSTANCES)
    rows = read_refs(Dataset(source=str(tmp_path / "valid" / "_annotations.coco.json"), label="category"))
    assert [(row.image_id, row.label, row.detail) for row in rows] == [("a.png", "dog", ""), ("sub/b.png", None, "")]
