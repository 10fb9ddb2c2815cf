# ruff: noqa: E501 (a case is a line of a table)
"""The cases about data sets: 01 to 17 of the review."""

import base64
import json
from pathlib import Path

import pyarrow as pa
from case_runner import Build, Case, CaseRunner, prepare
from pictures import TEXT, images, jpeg, lines, parquet, rows, tar, write

BOTH = r'references \["A dog 0\.", "It\'s a brown dog\."\]'


def data(folder: Path) -> Path:
    return folder / "data"


def hub_clone(runner: CaseRunner, folder: Path) -> str:
    for split, count, first in (("train", 6, 0), ("validation", 4, 6), ("test", 3, 10)):
        parquet(data(folder) / f"data/{split}-00000-of-00001.parquet", rows(count, first, caption=TEXT.format))
    return prepare(runner, folder, {"source": str(data(folder)), "split": "validation", "references": "caption"})


def split_folders(runner: CaseRunner, folder: Path) -> str:
    for split, count, first in (("train", 4, 0), ("val", 2, 4)):
        images(data(folder) / split, count, first)
    return prepare(runner, folder, {"source": str(data(folder)), "split": "val"})


def split_unsaid(runner: CaseRunner, folder: Path) -> str:
    for split, count, first in (("train", 6, 0), ("validation", 4, 6)):
        parquet(data(folder) / f"data/{split}-00000-of-00001.parquet", rows(count, first, caption=TEXT.format))
    return prepare(runner, folder, {"source": str(data(folder)), "references": "caption"})


def coco_structs(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder), 3)
    lines(data(folder) / "m.jsonl", [
        {"image": name, "references": [{"id": number, "image_id": number, "caption": TEXT.format(number)}]}
        for number, name in enumerate(names)
    ])  # fmt: skip
    return prepare(runner, folder, {"source": str(data(folder) / "m.jsonl"), "references": "references"})


def karpathy_structs(runner: CaseRunner, folder: Path) -> str:
    sentences = lambda number: [{"raw": TEXT.format(number), "tokens": ["a", "dog"]}]  # noqa: E731
    parquet(data(folder) / "a.parquet", rows(3, sentences=sentences))
    return prepare(runner, folder, {"source": str(data(folder)), "references": "sentences"})


def llava(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder), 3)
    lines(data(folder) / "m.jsonl", [
        {"image": name, "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": TEXT.format(number)}
        ]} for number, name in enumerate(names)
    ])  # fmt: skip
    return prepare(runner, folder, {"source": str(data(folder) / "m.jsonl"), "references": "conversations"})


def csv_list(runner: CaseRunner, folder: Path) -> str:
    images(data(folder), 2)
    text = '"[\'A dog 0.\', ""It\'s a brown dog.""]"'
    write(data(folder) / "m.csv", f"image,caption\n0.jpg,{text}\n1.jpg,{text}\n")
    return prepare(runner, folder, {"source": str(data(folder) / "m.csv"), "references": "caption"})


def numpy_list(runner: CaseRunner, folder: Path) -> str:
    images(data(folder), 2)
    write(data(folder) / "m.csv", "image,caption\n0.jpg,['A dog' 'A cat']\n1.jpg,['A dog' 'A cat']\n")
    return prepare(runner, folder, {"source": str(data(folder) / "m.csv"), "references": "caption"})


def parquet_list(runner: CaseRunner, folder: Path) -> str:
    parquet(data(folder) / "a.parquet", rows(2, caption=json.dumps(["A dog 0.", "It's a brown dog."])))
    return prepare(runner, folder, {"source": str(data(folder)), "references": "caption"})


def not_a_number(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder), 3)
    text = "".join(f'{{"image": "{name}", "caption": NaN}}\n' for name in names[:2])
    write(data(folder) / "m.jsonl", text + f'{{"image": "{names[2]}", "caption": "A dog."}}\n')
    return prepare(runner, folder, {"source": str(data(folder) / "m.jsonl"), "references": "caption"})


def binary_text(runner: CaseRunner, folder: Path) -> str:
    parquet(data(folder) / "a.parquet", rows(3, txt=lambda number: TEXT.format(number).encode()))
    return prepare(runner, folder, {"source": str(data(folder)), "references": "txt"})


def hidden_files(runner: CaseRunner, folder: Path) -> str:
    for label in ("cat", "dog"):
        images(data(folder) / label, 6, first=0 if label == "cat" else 6)
    images(data(folder) / "cat/.ipynb_checkpoints", 1, first=20)
    images(data(folder) / ".Trash-1000", 1, first=21)
    write(data(folder) / "cat/._0.jpg", b"\0\5\26\7junk")
    return prepare(runner, folder, {"source": str(data(folder)), "label": "folder"})


FIVE = ["A dog 0.", *(f"Words {number}." for number in range(1, 5))]


def row_a_caption(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder), 4)
    lines(data(folder) / "m.jsonl", [{"image": name, "caption": text} for name in names for text in FIVE])
    return prepare(runner, folder, {"source": str(data(folder) / "m.jsonl"), "references": "caption"})


def metadata_row_a_caption(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder), 4)
    text = "".join(f"{name},{caption}\n" for name in names for caption in FIVE)
    write(data(folder) / "metadata.csv", f"file_name,caption\n{text}")
    return prepare(runner, folder, {"source": str(data(folder)), "references": "caption"})


def metadata_per_split(runner: CaseRunner, folder: Path) -> str:
    for split, first in (("train", 0), ("validation", 4)):
        names = images(data(folder) / split, 4 if split == "train" else 2, first)
        text = "".join(f"{name},A dog {name}\n" for name in names)
        write(data(folder) / split / "metadata.csv", f"file_name,caption\n{text}")
    return prepare(runner, folder, {"source": str(data(folder)), "references": "caption", "split": "validation"})


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


DOG = r'references \["A dog 0\."\]'
CASES = [
    Case("01a", "huggingface/datasets#4150", "hub clone, `split: validation`", r"4 images", "golden set of 13: all three splits (silently wrong)", hub_clone),
    Case("01b", "marin-community/marin#2381", "folders `train/ val/`, `split: val`", r"2 images", "golden set of 6: both splits (silently wrong)", split_folders),
    Case("01c", "kind of 01", "hub clone with train and validation, no `split` said", r"split|10 images", "golden set of both splits", split_unsaid),
    Case("02a", "tohinz/semantic-object-accuracy", "references `[{id, image_id, caption}]`", DOG, "reference is Python's text of a dict (silently wrong)", coco_structs),
    Case("02b", "Karpathy splits", "references `[{raw, tokens}]` in Parquet", DOG, "the same (silently wrong)", karpathy_structs),
    Case("02c", "huggingface/datasets#7337", "LLaVA `conversations`", DOG, "the same (silently wrong)", llava),
    Case("03a", "tarikbilla.com (lists in `to_csv`)", "CSV of pandas with a list column", BOTH, "one reference, the list's text (silently wrong)", csv_list),
    Case("03b", "kouhan.cn 00049277", "CSV with numpy's repr of a list", r"exit 2: .*numpy|exit 2: .*\['A dog' 'A cat'\]", "one reference, the list's text (silently wrong)", numpy_list),
    Case("03c", "the same", "Parquet with a JSON list as text", BOTH, "one reference, the list's text (silently wrong)", parquet_list),
    Case("04a", "rom1504/img2dataset#46", "JSONL with NaN where a caption is missing", r'\[\], 2 without', "reference `nan` (silently wrong)", not_a_number),
    Case("04b", "ray-project/ray#33336", "Parquet with binary `txt`", DOG, "reference `b'A dog 0.'` (silently wrong)", binary_text),
    Case("05", "pytorch/vision#2831", "class folders with `.ipynb_checkpoints/`, `._x.jpg`, `.Trash-1000/`", r'12 images; .*\["cat", "dog"\]', "12 images, two labels", hidden_files),
    Case("06a", "rom1504/img2dataset#244", "one row a caption, five an image: manifest", r'4 images; references \["A dog 0\.", "Words 1\."', "`16 of 20 images rejected (16 duplicate) … keep duplicates, or raise the limit`", row_a_caption),
    Case("06b", "krasserm/fairseq-image-captioning#18", "the same in `metadata.csv`", r'4 images; references \["A dog 0\.", "Words 1\."', "the same", metadata_row_a_caption),
    Case("07", "huggingface/datasets#4895", "imagefolder, a metadata.csv in each split, `split: validation`", r"2 images; references \[\"A dog 4", "`references 'caption' need a metadata.jsonl or metadata.csv` (there are two)", metadata_per_split),
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
