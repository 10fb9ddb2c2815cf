"""A folder of images, on disk or S3; references and labels from `metadata.jsonl`, else labels from subfolder names.

`metadata.jsonl` is the Hugging Face imagefolder convention: one object a line, `file_name` relative to the folder.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from ray_jobs import storage
from ray_jobs.contract import BadInput, Dataset, nearest
from ray_jobs.sources import Row, texts

METADATA = "metadata.jsonl"
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")
)


class FolderSource:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._keys: list[str] = []
        self._metadata: dict[str, dict[str, Any]] = {}

    def count(self) -> int:
        listed = [entry.key for entry in storage.entries(self.dataset.source)]
        self._keys = [key for key in listed if PurePosixPath(key).suffix.lower() in SUFFIXES]
        if not self._keys:
            raise BadInput(
                f"dataset {self.dataset.source}: none of its {len(listed)} files is named like an image "
                "(.jpg, .png, .webp, ...); check the URI"
            )
        if METADATA in listed:
            self._metadata = self._read_metadata()
        elif self.dataset.references:
            raise BadInput(f"dataset {self.dataset.source}: references {self.dataset.references!r} need a {METADATA}")
        return len(self._keys)

    def locate(self, indices: Sequence[int]) -> list[tuple[str, str | None, list[str]]]:
        return [self._described(self._keys[index]) for index in indices]

    def read(self, located: list[tuple[str, str | None, list[str]]]) -> Iterator[Row]:
        for key, label, references in located:
            data, detail = None, ""
            try:
                data = storage.read(f"{self.dataset.source}/{key}")
            except (FileNotFoundError, BadInput) as error:  # Trouble passes: trying again may well read the image
                detail = str(error)
            yield Row(key, data, label, references, detail)

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "_keys": [], "_metadata": {}}  # workers read what was located, nothing else

    def _described(self, key: str) -> tuple[str, str | None, list[str]]:
        row = self._metadata.get(key, {})
        label = row.get(self.dataset.label) if self.dataset.label else None
        if self.dataset.label and label is None and "/" in key and not self._metadata:
            label = key.rsplit("/", 2)[-2]
        references = texts(row.get(self.dataset.references)) if self.dataset.references else []
        return key, None if label is None else str(label), references

    def _read_metadata(self) -> dict[str, dict[str, Any]]:
        uri = f"{self.dataset.source}/{METADATA}"
        rows = {}
        columns: set[str] = set()
        for number, line in enumerate(storage.read(uri).decode().splitlines(), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                    rows[row["file_name"]] = row
                except (ValueError, KeyError, TypeError):
                    raise BadInput(f"dataset {uri}: line {number} is not an object with a `file_name`") from None
                columns |= row.keys()
        for asked, column in (("references", self.dataset.references), ("label", self.dataset.label)):
            if column and column not in columns:
                raise BadInput(f"dataset {uri}: no column {column!r} for {asked}{nearest(column, sorted(columns))}")
        return rows
