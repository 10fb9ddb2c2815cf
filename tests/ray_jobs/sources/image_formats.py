"""One collection of images in every format that a source reads, and what a worker reads of it."""

import csv
import hashlib
import json
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
from samples import draw_picture, encode_image

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.sources.open_source import open_source
from ray_jobs.sources.source import ImageRef, Source, SourceImage

COUNT = 7
PICTURES = [encode_image(draw_picture(number)) for number in range(COUNT)]
HASHES = [hashlib.sha256(data).hexdigest() for data in PICTURES]
CAPTIONS = [[f'picture "{number}", so', f"número {number}"] for number in range(COUNT)]
LABELS = ["even" if number % 2 == 0 else "odd" for number in range(COUNT)]
NAMES = [f"{number:03d}.png" for number in range(COUNT)]


def write_images(place: Path) -> Path:
    place.mkdir(parents=True)
    for name, data in zip(NAMES, PICTURES, strict=True):
        (place / name).write_bytes(data)
    return place


def make_rows(prefix: str = "", column: str = "file_name") -> list[dict[str, Any]]:
    """One row per picture, as manifests and metadata have it."""
    return [
        {column: f"{prefix}{name}", "caption": caption, "kind": label}
        for name, caption, label in zip(NAMES, CAPTIONS, LABELS, strict=True)
    ]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    """A CSV or TSV file; lists are written as JSON."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
    return path


def make_table(image: pa.Array) -> pa.Table:
    return pa.table({"image": image, "caption": CAPTIONS, "kind": LABELS})


def folder(place: Path) -> dict[str, Any]:
    write_jsonl(write_images(place) / "metadata.jsonl", make_rows())
    return {"source": place}


def folder_with_csv(place: Path) -> dict[str, Any]:
    write_csv(write_images(place) / "metadata.csv", make_rows())
    return {"source": place}


def parquet_of_bytes(place: Path) -> dict[str, Any]:
    place.mkdir()
    table = make_table(pa.array(PICTURES, pa.binary()))
    pq.write_table(table.slice(0, 3), place / "a.parquet", row_group_size=2)
    pq.write_table(table.slice(3), place / "b.parquet", row_group_size=3)
    return {"source": place}


def parquet_of_structs(place: Path) -> dict[str, Any]:
    place.mkdir()
    cells: list[dict[str, Any]] = [{"bytes": data, "path": None} for data in PICTURES]
    (place.parent / "elsewhere.png").write_bytes(PICTURES[4])
    cells[4] = {"bytes": None, "path": str(place.parent / "elsewhere.png")}
    pq.write_table(make_table(pa.array(cells)), place / "a.parquet")
    return {"source": place}


def parquet_of_paths(place: Path) -> dict[str, Any]:
    pq.write_table(make_table(pa.array(NAMES)), write_images(place) / "a.parquet")
    return {"source": place / "a.parquet"}


def arrow_files(place: Path) -> dict[str, Any]:
    """Both formats of Arrow IPC in one folder."""
    place.mkdir()
    table = make_table(pa.array(PICTURES, pa.large_binary()))
    with pa.ipc.new_file(place / "a.arrow", table.schema) as file:
        file.write_table(table.slice(0, 5), max_chunksize=2)
    with pa.ipc.new_stream(place / "b.feather", table.schema) as stream:
        stream.write_table(table.slice(5), max_chunksize=1)
    return {"source": place}


def features() -> datasets.Features:
    return datasets.Features({
        "image": datasets.Image(),
        "caption": datasets.Sequence(datasets.Value("string")),
        "kind": datasets.ClassLabel(names=["even", "odd"]),
    })  # fmt: skip


def make_dataset() -> datasets.Dataset:
    cells = [{"bytes": data, "path": None} for data in PICTURES]
    return datasets.Dataset.from_dict({"image": cells, "caption": CAPTIONS, "kind": LABELS}, features=features())


def huggingface(place: Path) -> dict[str, Any]:
    """A data set as `save_to_disk` writes it: one file, one block."""
    make_dataset().save_to_disk(place)
    return {"source": place}


def huggingface_of_splits(place: Path) -> dict[str, Any]:
    datasets.DatasetDict({"train": make_dataset().select([0]), "val": make_dataset()}).save_to_disk(place)
    return {"source": place, "split": "val"}


def parquet_of_the_hub(place: Path) -> dict[str, Any]:
    """As the hub converts datasets: the features in the file's metadata."""
    place.mkdir()
    make_dataset().to_parquet(place / "train-00000-of-00001.parquet")
    return {"source": place}


def write_shards(place: Path) -> None:
    place.mkdir()
    for shard, numbers in enumerate((range(4), range(4, COUNT))):
        with webdataset.TarWriter(str(place / f"train-{shard:03d}.tar")) as tar:
            for number in numbers:
                more = {"caption": CAPTIONS[number], "kind": LABELS[number]}
                tar.write({"__key__": f"{number:03d}", "png": PICTURES[number], "json": json.dumps(more).encode()})


def webdataset_folder(place: Path) -> dict[str, Any]:
    write_shards(place)
    return {"source": place}


def webdataset_pattern(place: Path) -> dict[str, Any]:
    write_shards(place)
    return {"source": place / "train-{000..001}.tar"}


def manifest_jsonl(place: Path) -> dict[str, Any]:
    write_images(place / "files")
    return {"source": write_jsonl(place / "list.jsonl", make_rows("files/"))}


def manifest_csv(place: Path) -> dict[str, Any]:
    write_images(place / "files")
    return {"source": write_csv(place / "list.csv", make_rows("./files/", "path"))}


def manifest_tsv(place: Path) -> dict[str, Any]:
    write_images(place.parent / "elsewhere")
    place.mkdir()
    return {"source": write_csv(place / "list.tsv", make_rows(f"{place.parent}/elsewhere/", "image"), "\t")}


FORMATS = [
    folder, folder_with_csv, parquet_of_bytes, parquet_of_structs, parquet_of_paths, parquet_of_the_hub, arrow_files,
    huggingface, huggingface_of_splits, webdataset_folder, webdataset_pattern, manifest_jsonl, manifest_csv,
    manifest_tsv,
]  # fmt: skip


def make_settings(settings: dict[str, Any], **more: Any) -> Dataset:
    return Dataset(**settings | {"source": str(settings["source"])} | more)


def list_refs(dataset: Dataset) -> list[ImageRef]:
    return list(open_source(dataset).list_images())


def measure_listing_peak(source: Source, count: int) -> int:
    """The peak memory of Python objects, in bytes, while the source lists its `count` images."""
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.list_images()) == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def read_refs(dataset: Dataset, refs: list[ImageRef] | None = None) -> list[SourceImage]:
    """What a worker reads: it gets source and refs pickled, and may be the first to open that source."""
    refs_chosen = list_refs(dataset) if refs is None else refs
    source, refs_sent = pickle.loads(pickle.dumps((open_source(dataset), refs_chosen)))
    return list(source.read(refs_sent))


def read_bytes(row: SourceImage) -> bytes | None:
    """The image's bytes, wherever the row has them."""
    return row.file.read_bytes() if row.file else row.data


def hash_images(rows: list[SourceImage]) -> Iterator[str]:
    return (hashlib.sha256(read_bytes(row) or b"").hexdigest() for row in rows)
