# ruff: noqa: E501 (a case is a line of a table)
"""Variants of the situations that the review found."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from case_runner import Build, Case, CaseRunner, prepare
from checkpoints import merge_shards, only, plan_after, write_tensors
from judge_endpoint import Reply, completion
from judges import Behaviour, always, answers, judge_with
from pictures import DOG, TEXT, data, images, jpeg, lines, parquet, rows, tar, write

TWO = 'image,caption\n0.jpg,"Un chien é"\n1.jpg,"Un chat"\n'


def coco_instances(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder) / "val2017", 3, pattern="{:012d}.jpg")
    write(data(folder) / "annotations/instances_val2017.json", json.dumps({
        "images": [{"id": number, "file_name": name, "width": 64, "height": 48} for number, name in enumerate(names)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": [1, 2, 30, 20], "iscrowd": 0}
            for number in range(3)
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }))  # fmt: skip
    source = data(folder) / "annotations/instances_val2017.json"
    return prepare(runner, folder, {"source": str(source), "label": "category"})


def karpathy_file(runner: CaseRunner, folder: Path) -> str:
    names = images(data(folder), 4)
    write(data(folder) / "dataset_flickr8k.json", json.dumps({"dataset": "flickr8k", "images": [
        {"filename": name, "split": "test" if number < 2 else "train", "sentids": [number],
         "sentences": [{"raw": TEXT.format(number), "tokens": ["a", "dog"]}]}
        for number, name in enumerate(names)
    ]}))  # fmt: skip
    return prepare(
        runner,
        folder,
        {"source": str(data(folder) / "dataset_flickr8k.json"), "split": "test", "references": "sentences"},
    )


def flickr30k(runner: CaseRunner, folder: Path) -> str:
    images(data(folder), 2)
    text = "".join(f"{number}.jpg| {row}| A dog {row}.\n" for number in range(2) for row in range(5))
    write(data(folder) / "results.csv", f"image_name| comment_number| comment\n{text}")
    return prepare(
        runner, folder, {"source": str(data(folder) / "results.csv"), "image": "image_name", "references": "comment"}
    )


def csv_of(encoding: str, separator: str = ",") -> Build:
    def build(runner: CaseRunner, folder: Path) -> str:
        images(data(folder), 2)
        write(data(folder) / "m.csv", TWO.replace(",", separator).encode(encoding))
        return prepare(runner, folder, {"source": str(data(folder) / "m.csv"), "references": "caption"})

    return build


def float_labels(runner: CaseRunner, folder: Path) -> str:
    parquet(
        data(folder) / "a.parquet", rows(4, label=lambda number: float("nan") if number == 3 else float(number % 2))
    )
    write(folder / "names.txt", "cat\ndog\n")
    return prepare(runner, folder, {"source": str(data(folder)), "label": "label", "label_names": "names.txt"})


def label_structs(runner: CaseRunner, folder: Path) -> str:
    parquet(data(folder) / "a.parquet", rows(3, label=lambda number: {"id": number, "score": 0.5}))
    return prepare(runner, folder, {"source": str(data(folder)), "label": "label"})


def zip_of_a_mac(runner: CaseRunner, folder: Path) -> str:
    images(data(folder) / "photos", 3)
    write(data(folder) / "__MACOSX/photos/._0.jpg", b"\0\5\26\7junk")
    return prepare(runner, folder, {"source": str(data(folder))})


def tar_with_dots(runner: CaseRunner, folder: Path) -> str:
    members = []
    for number in range(3):
        members += [(f"./a/{number}.jpg", jpeg(number)), (f"./a/{number}.txt", TEXT.format(number).encode())]
    tar(data(folder) / "000.tar", members)
    return prepare(runner, folder, {"source": str(data(folder)), "references": "txt"})


def two_images_a_row(runner: CaseRunner, folder: Path) -> str:
    kind = pa.list_(pa.binary())
    records = [{"images": [jpeg(2 * number), jpeg(2 * number + 1)]} for number in range(3)]
    parquet(data(folder) / "a.parquet", records, pa.schema({"images": kind}))
    return prepare(runner, folder, {"source": str(data(folder)), "image": "images"})


def split_of_a_manifest(runner: CaseRunner, folder: Path) -> str:
    lines(data(folder) / "m.jsonl", [{"image": name} for name in images(data(folder), 3)])
    return prepare(runner, folder, {"source": str(data(folder) / "m.jsonl"), "split": "validation"})


def split_column(runner: CaseRunner, folder: Path) -> str:
    parquet(data(folder) / "a.parquet", rows(6, split=lambda number: "test" if number < 2 else "train"))
    return prepare(runner, folder, {"source": str(data(folder)), "split": "test"})


def same_bytes_other_words(runner: CaseRunner, folder: Path) -> str:
    records = [{"image": jpeg(number), "caption": TEXT.format(row)} for number in range(2) for row in range(3)]
    parquet(data(folder) / "a.parquet", records)
    return prepare(runner, folder, {"source": str(data(folder)), "references": "caption"})


def earlier_shards(checkpoint: Path) -> None:
    """An earlier save left shards of another count."""
    for number in range(1, 4):
        (checkpoint / f"model-0000{number}-of-00003.safetensors").write_bytes(
            (checkpoint / "model-00001-of-00002.safetensors").read_bytes()
        )


def mistral_weights(checkpoint: Path) -> None:
    merge_shards(checkpoint)
    (checkpoint / "model.safetensors").rename(checkpoint / "consolidated.safetensors")


def one_tensor_twice(checkpoint: Path) -> None:
    """Two shards hold a tensor of one name, with other values."""
    second = checkpoint / "model-00002-of-00002.safetensors"
    headers = merge_shards(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    name = next(iter(headers))
    size = headers[name]["data_offsets"][1] - headers[name]["data_offsets"][0]
    tensors = json.loads(second.read_bytes()[8 : 8 + int.from_bytes(second.read_bytes()[:8], "little")])
    tensors.pop("__metadata__", None)
    data = second.read_bytes()[8 + int.from_bytes(second.read_bytes()[:8], "little") :]
    tensors[name] = headers[name] | {"data_offsets": [len(data), len(data) + size]}
    write_tensors(second, tensors, data + bytes(size))


def large_vocabulary(checkpoint: Path) -> None:
    """The config says more words than the embeddings have."""
    config = json.loads((checkpoint / "config.json").read_text())
    text_config = config.get("text_config") or config
    text_config["vocab_size"] += 64
    if "vocab_size" in config:
        config["vocab_size"] = text_config["vocab_size"]
    (checkpoint / "config.json").write_text(json.dumps(config))


def model_one_folder_deeper(checkpoint: Path) -> None:
    files = [file for file in checkpoint.iterdir() if file.is_file()]
    (checkpoint / "model").mkdir()
    for file in files:
        file.rename(checkpoint / "model" / file.name)


def optimizer_beside(checkpoint: Path) -> None:
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth"):
        write(checkpoint / name, bytes(100))
    write(checkpoint / "trainer_state.json", '{"global_step": 500}')


def score_answer(text: str) -> Callable[[], Behaviour]:
    return answers(json.dumps({"rationale": "so", "score": text}))


CASES = [
    Case("F01", "kind of 14", "COCO `instances_val2017.json` beside `val2017/`", r'3 images.*\["cat", "dog"\]', "`nothing is there; check the URI`", coco_instances),
    Case("F02", "kind of 02", "Karpathy `dataset_flickr8k.json`, `split: test`", r"2 images; " + DOG, "`nothing is there; check the URI`", karpathy_file),
    Case("F03", "kind of 06", "Flickr30k `results.csv`, parted by `|`, five rows an image", r'2 images; references \["A dog 0\.", "A dog 1\."', "`no column 'image_name' for image; known: image_name| comment_number| comment`", flickr30k),
    Case("F04", "kind of 12", "CSV in UTF-16, as Excel saves it", r'Un chien é|exit 2: .*UTF-(8|16)', "`line 1 is not UTF-8; save the file as UTF-8`", csv_of("utf-16")),
    Case("F05", "kind of 12", "CSV in Latin-1", r'Un chien é|exit 2: .*UTF-8', "`line 2 is not UTF-8; save the file as UTF-8`", csv_of("latin-1")),
    Case("F06", "kind of 17", "CSV parted by semicolons", r'Un chien é|exit 2: .*(;|semicolon|column)', "`cannot tell which of its columns names the images: image;caption`", csv_of("utf-8", ";")),
    Case("F07", "kind of 04", "labels that pandas records floats, one NaN, with names", r'\["cat", "dog"\]', "labels cat and dog", float_labels),
    Case("F08", "kind of 02", "labels that are structs", r"exit 2: .*label", "label `{'id': 0, 'score': 0.5}` (silently wrong)", label_structs),
    Case("F09", "kind of 15", "`__MACOSX/` in a folder that was a zip", r"3 images; ", "3 images", zip_of_a_mac),
    Case("F10", "kind of 12", "tar with `./a/0.jpg`", r"3 images; " + DOG, "3 images with their references", tar_with_dots),
    Case("F11", "kind of 09", "two images a row", r"exit 2: .*2", "`no usable image (3 unreadable-source)`", two_images_a_row),
    Case("F12", "kind of 01", "`split` over a manifest without splits", r"exit 2: .*split", "3 images, `split` unread (silently wrong)", split_of_a_manifest),
    Case("F13", "kind of 01", "a column `split` in Parquet", r"2 images", "6 images of both splits (silently wrong)", split_column),
    Case("F14", "kind of 06", "Parquet, one row a caption, the image's bytes each time", r'2 images.*references \["A dog 0\.", "A dog 1\.", "A dog 2\."\]', "`4 of 6 images rejected (4 duplicate) … keep duplicates, or raise the limit`", same_bytes_other_words),
    Case("F15", "kind of 20", "shards of an earlier save with another count", r"planned|exit 2: .*two sets", "planned, another fingerprint", plan_after(earlier_shards)),
    Case("F16", "kind of 20", "Mistral's `consolidated.safetensors` beside the shards", r"planned|exit 2: .*consolidated", "planned, another fingerprint", plan_after(mistral_weights)),
    Case("F17", "kind of 20", "one tensor in two shards, with other values", r"exit 2: .*(two|twice|both)", "planned (silently wrong)", plan_after(one_tensor_twice)),
    Case("F18", "kind of 21", "config says 64 words more than the embeddings have", r"plan, exit 2: .*(vocab|embed)", "planned, then trouble in vLLM", plan_after(large_vocabulary)),
    Case("F19", "kind of 24", "GGUF only", r"exit 2: .*gguf", "`no .safetensors file yet; wait for the upload`", plan_after(only("model-Q4_K_M.gguf"))),
    Case("F20", "kind of 24", "Megatron `iter_0000500/mp_rank_00/`", r"exit 2: .*(iter_0000500|Megatron|mp_rank)", "the same", plan_after(only("iter_0000500/mp_rank_00/model_optim_rng.pt"))),
    Case("F21", "kind of 24", "the model one folder deeper", r"exit 2: .*model/", "`config.json is missing; wait for the upload`", plan_after(model_one_folder_deeper)),
    Case("F22", "kind of 22", "a Trainer's states beside the model", r"planned: 85c1c95b", "planned, the same fingerprint", plan_after(optimizer_beside)),
    Case("F23", "kind of 26", "200 with `choices: []`", r"exit [12]: .*(choices|completion|answer)", "`this model does not do what the prompt asks`", judge_with(always(Reply(200, completion("x") | {"choices": []})))),
    Case("F24", "kind of 26", "500 whose text is a wrapped 429", r"exit 1: ", "trouble", judge_with(always(Reply(500, {"error": {"message": "litellm.RateLimitError: 429", "code": "500"}})))),
    Case("F25", "kind of 26", "404, no such model", r"exit 2: .*404", "bad input", judge_with(always(Reply(404, {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}})))),
    Case("F26", "kind of 26", "a score as text, `4/5`", r"exit 2: .*4/5|judge-invalid-answer", "`not what the schema says`, no answer shown", judge_with(score_answer("4/5"))),
    Case("F27", "kind of 26", "a score that the rubric does not have", r"exit 2: .*11|judge-invalid-answer", "the same", judge_with(answers('{"rationale": "so", "score": 11}'))),
    Case("F28", "kind of 26", "429 `insufficient_quota`", r"exit 2: .*quota", "`trouble, worth retrying … run again when it is up`", judge_with(always(Reply(429, {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}})))),
]  # fmt: skip
