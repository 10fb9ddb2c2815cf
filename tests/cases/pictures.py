"""Pictures and files to build data sets from."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from samples import draw_picture, encode_image

TEXT = "A dog {}."
DOG = r'references \["A dog 0\."\]'


def data(folder: Path) -> Path:
    return folder / "data"


def jpeg(seed: int) -> bytes:
    return encode_image(draw_picture(seed), "JPEG")


def write(file: Path, content: bytes | str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def images(folder: Path, count: int, first: int = 0, pattern: str = "{}.jpg") -> list[str]:
    """Write `count` pictures below a folder; returns their names."""
    names = [pattern.format(number) for number in range(first, first + count)]
    for number, name in enumerate(names, first):
        write(folder / name, jpeg(number))
    return names


def lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    return write(file, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def parquet(file: Path, rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    return file


def tar(file: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def rows(count: int, first: int = 0, **columns: Any) -> list[dict[str, Any]]:
    """Parquet rows with an image each; a callable column gives its value for the row's number."""
    return [
        {"image": jpeg(number)} | {name: value(number) if callable(value) else value for name, value in columns.items()}
        for number in range(first, first + count)
    ]
