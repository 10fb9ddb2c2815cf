# ruff: noqa: E501 (a case is a line of a table)
"""The cases about files, images and labels of data sets: 05 and 08 to 17 of the review."""

import base64
import json
from pathlib import Path

import pyarrow as pa
from case_runner import Build, Case, CaseRunner, prepare
from pictures import DOG, TEXT, data, images, jpeg, lines, parquet, rows, tar, write


def hidden_files(runner: CaseRunner, folder: Path) -> str:
    for label in ("cat", "dog"):
        images(data(folder) / label, 6, first=0 if label == "cat" else 6)
    images(data(folder) / "cat/.ipynb_checkpoints", 1, first=20)
    images(data(folder) / ".Trash-1000", 1, first=21)
    write(data(folder) / "cat/._0.jpg", b"\0\5\26\7junk")
    return prepare(runner, folder, {"source": str(data(folder)), "label": "folder"})


def null_shard(runner: CaseRunner, folder: Path) -> str:
    records = rows(9, caption=TEXT.format)
    parquet(data(folder) / "00000.parquet", records)
    missing = pa.schema({"image": pa.null(), "caption": pa.string()})
    parquet(data(folder) / "00001.parquet", [{"image": None, "caption": "A cat."}], missing)
    return prepare(runner, folder, {"source": str(data(folder)), "references": "caption"}, max_rejected_fraction=0.2)


def empty_shard(runner: CaseRunner, folder: Path) -> str:
    parquet(data(folder) / "00000.parquet", rows(3, caption=TEXT.format))
    parquet(data(folder) / "00001.parquet", [], pa.schema([]))
    return prepare(runner, folder, {"source": str(data(folder)), "references": "caption"})


def list_of_one(runner: CaseRunner, folder: Path) -> str:
    records = [{"images": [{"bytes": jpeg(number), "path": None}]} for number in range(3)]
    kind = pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    parquet(data(folder) / "a.parquet", records, pa.schema({"images": kind}))
    return prepare(runner, folder, {"source": str(data(folder)), "image": "images"})


def json_list_of_one(runner: CaseRunner, folder: Path) -> str:
    lines(data(folder) / "m.jsonl", [{"images": [name]} for name in images(data(folder), 3)])
    return prepare(runner, folder, {"source": str(data(folder) / "m.jsonl"), "image": "images"})


def dictionary_paths(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder), 3)
    column = pa.array(names).dictionary_encode()
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"path": column}), data(folder) / "a.parquet")
    return prepare(runner, folder, {"source": str(data(folder) / "a.parquet"), "image": "path"})


def as_base64(prefix: str) -> Build:
    def build(runner: CaseRunner, folder: Path) -> str:
        records = [{"image": prefix + base64.b64encode(jpeg(number)).decode()} for number in range(3)]
        parquet(data(folder) / "a.parquet", records)
        return prepare(runner, folder, {"source": str(data(folder)), "image": "image"})

    return build


def backslashes(runner: CaseRunner, folder: Path) -> str:
    images(data(folder) / "img/cat", 3)
    lines(data(folder) / "m.jsonl", [{"image": f"img\\cat\\{number}.jpg"} for number in range(3)])
    return prepare(runner, folder, {"source": str(data(folder) / "m.jsonl")})


def metadata_backslashes(runner: CaseRunner, folder: Path) -> str:
    images(data(folder) / "img/cat", 3)
    records = [{"file_name": f"img\\cat\\{number}.jpg", "caption": TEXT.format(number)} for number in range(3)]
    lines(data(folder) / "metadata.jsonl", records)
    return prepare(runner, folder, {"source": str(data(folder)), "references": "caption"})


def tar_not_adjacent(runner: CaseRunner, folder: Path) -> str:
    pictures = [(f"{number:04d}.jpg", jpeg(number)) for number in range(3)]
    texts = [(f"{number:04d}.txt", TEXT.format(number).encode()) for number in range(3)]
    tar(data(folder) / "000.tar", [*pictures, *texts])
    return prepare(runner, folder, {"source": str(data(folder)), "references": "txt"})


def byte_order_mark(runner: CaseRunner, folder: Path) -> str:
    members = []
    for number in range(3):
        members += [(f"{number}.jpg", jpeg(number)), (f"{number}.txt", b"\xef\xbb\xbf" + TEXT.format(number).encode())]
    tar(data(folder) / "000.tar", members)
    return prepare(runner, folder, {"source": str(data(folder)), "references": "txt"})


def synsets(runner: CaseRunner, folder: Path) -> str:
    for number, label in enumerate(("n01440764", "n01443537")):
        images(data(folder) / "train" / label, 2, first=2 * number)
    names = "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n"
    write(data(folder) / "LOC_synset_mapping.txt", names)
    dataset = {"source": str(data(folder) / "train"), "label": "folder"}
    write(folder / "LOC_synset_mapping.txt", names)
    return prepare(runner, folder, dataset | {"label_names": "LOC_synset_mapping.txt"})


def coco_file(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder), 3, pattern="{:012d}.jpg")
    write(data(folder) / "captions_val2017.json", json.dumps({
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [{"id": 9, "image_id": number, "caption": TEXT.format(number)} for number in range(3)],
    }))  # fmt: skip
    source = data(folder) / "captions_val2017.json"
    return prepare(runner, folder, {"source": str(source), "references": "caption"})


def unknown_file(name: str) -> Build:
    def build(runner: CaseRunner, folder: Path) -> str:
        return prepare(runner, folder, {"source": str(write(data(folder) / name, "0.jpg\tA dog.\n"))})

    return build


def zip_archive(runner: CaseRunner, folder: Path) -> str:
    import zipfile

    data(folder).mkdir()
    with zipfile.ZipFile(data(folder) / "val.zip", "w") as archive:
        archive.writestr("0.jpg", jpeg(0))
    return prepare(runner, folder, {"source": str(data(folder) / "val.zip")})


def gzip_manifest(runner: CaseRunner, folder: Path) -> str:
    import gzip

    names = images(data(folder), 3)
    text = "".join(f'{{"image": "{name}", "caption": "A dog 0."}}\n' for name in names)
    write(data(folder) / "m.jsonl.gz", gzip.compress(text.encode()))
    return prepare(runner, folder, {"source": str(data(folder) / "m.jsonl.gz"), "references": "caption"})


def json_list(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder), 3)
    write(data(folder) / "list.json", json.dumps([{"image": name, "caption": "A dog 0."} for name in names]))
    return prepare(runner, folder, {"source": str(data(folder) / "list.json"), "references": "caption"})


def spark(runner: CaseRunner, folder: Path) -> str:
    parquet(data(folder) / "part-00000.parquet", rows(4))
    parquet(data(folder) / "_temporary/0/task_1/part-00001.parquet", rows(4, 4))
    write(data(folder) / "_SUCCESS", "")
    return prepare(runner, folder, {"source": str(data(folder))})


def partitions(runner: CaseRunner, folder: Path) -> str:
    for number, label in enumerate(("cat", "dog")):
        parquet(data(folder) / f"label={label}/part-0.parquet", rows(2, 2 * number))
    return prepare(runner, folder, {"source": str(data(folder)), "label": "label"})


def tab_quotes(runner: CaseRunner, folder: Path) -> str:
    images(data(folder), 2)
    write(data(folder) / "m.tsv", 'image\tcaption\n0.jpg\t"stop" sign\n1.jpg\ta "go" sign\n')
    return prepare(runner, folder, {"source": str(data(folder) / "m.tsv"), "references": "caption"})


CASES = [
    Case("05", "pytorch/vision#2831", "class folders with `.ipynb_checkpoints/`, `._x.jpg`, `.Trash-1000/`", r'12 images; .*\["cat", "dog"\]', "12 images, two labels", hidden_files),
    Case("08a", "ray-project/ray#62975", "Parquet shards, in one every image is missing (type null)", r"9 images, rejected \{.*: 1\}", "`cannot tell that any of its columns holds the images: …`", null_shard),
    Case("08b", "NVIDIA/cudf#5062", "a shard without columns", r"3 images", "`holds the images: ; set dataset.image`", empty_shard),
    Case("09a", "QwenLM/Qwen3-VL#60", "Parquet, images in a list of one", r"3 images", "`no usable image (3 unreadable-source)`", list_of_one),
    Case("09b", "the same", "JSONL, `\"images\": [\"a.jpg\"]`", r"3 images", "said so", json_list_of_one),
    Case("09c", "the same", "dictionary-encoded path column", r"3 images", "`cannot tell …`", dictionary_paths),
    Case("10a", "sgl-project/sglang#7199", "images as base64 in a text column", r"3 images", "`no usable image (3 unreadable-source); check the source and its image column`", as_base64("")),
    Case("10b", "the same", "images as data URLs", r"3 images", "the same", as_base64("data:image/jpeg;base64,")),
    Case("11a", "AILab-CVC/YOLO-World#535", r"manifest with `img\cat\0.jpg`", r"3 images|backslash", "`no usable image (3 unreadable-source) …`", backslashes),
    Case("11b", "abbyy/barcode_detection_benchmark#2", "metadata with backslashes", DOG + r", 0 without|backslash", "complete, every image without its reference", metadata_backslashes),
    Case("12a", "ray-project/ray#44068", "tar with all images first and all captions after", r"side by side", "`3 of 6 images rejected (3 unreadable-source) … mend the source … or raise the limit`", tar_not_adjacent),
    Case("12b", "pbs/pycaption#341", "`.txt` members with a byte order mark", DOG, r"reference `\ufeffA dog runs.` (silently wrong)", byte_order_mark),
    Case("13", "migamic/PixInWav2#5", "`label_names: LOC_synset_mapping.txt` over `n0…` folders", r"tench", "`no name for label 'n01440764'; it has 2 (0, 1, ...)`", synsets),
    Case("14a", "UCSB-NLP-Chang/Diffusion-SpaceTime-Attn#7", "`source: captions_val2017.json`", r"3 images; " + DOG, "`nothing is there; check the URI`", coco_file),
    Case("14b", "the same", "`m.jsonl.gz`", r"3 images|exit 2: .*gz", "the same", gzip_manifest),
    Case("14c", "the same", "`list.json`", r"3 images|exit 2: .*json", "the same", json_list),
    Case("14d", "the same", "`captions.txt`", r"exit 2: .*captions\.txt: (?!nothing is there)", "the same", unknown_file("captions.txt")),
    Case("14e", "the same", "`val.zip`", r"1 images|exit 2: .*(zip|unpack)", "the same", zip_archive),
    Case("15a", "apache/spark#6411", "Spark output with `_temporary/…/part-00001.parquet`", r"4 images", "golden set of 8: 4 of the aborted task (silently wrong)", spark),
    Case("15b", "ray-project/ray#17325", "`label=cat/part-0.parquet` with `label: label`", r'\["cat", "dog"\]', "`no column 'label' for label`", partitions),
    Case("17", "Tatoeba/tatoeba2#2973", "TSV with a caption that begins with a quote", r'2 images; references \["\\"stop\\" sign"\]', "`'\t' expected after '\"'; correct its quotes`".replace("\t", "\\t"), tab_quotes),
]  # fmt: skip
