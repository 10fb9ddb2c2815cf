# ruff: noqa: E501 (a case is a line of a table)
"""The cases about splits and reference captions: 01 to 04, 06 and 07 of the review."""

import json
from pathlib import Path

from case_runner import Case, CaseRunner, prepare
from pictures import DOG, TEXT, data, images, lines, parquet, rows, write

BOTH = r'references \["A dog 0\.", "It\'s a brown dog\."\]'
FIVE = ["A dog 0.", *(f"Words {number}." for number in range(1, 5))]


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
    Case("06a", "rom1504/img2dataset#244", "one row a caption, five an image: manifest", r'4 images; references \["A dog 0\.", "Words 1\."', "`16 of 20 images rejected (16 duplicate) … keep duplicates, or raise the limit`", row_a_caption),
    Case("06b", "krasserm/fairseq-image-captioning#18", "the same in `metadata.csv`", r'4 images; references \["A dog 0\.", "Words 1\."', "the same", metadata_row_a_caption),
    Case("07", "huggingface/datasets#4895", "imagefolder, a metadata.csv in each split, `split: validation`", r"2 images; references \[\"A dog 4", "`references 'caption' need a metadata.jsonl or metadata.csv` (there are two)", metadata_per_split),
]  # fmt: skip
