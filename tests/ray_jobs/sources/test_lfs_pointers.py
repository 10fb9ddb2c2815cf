"""A clone whose large files were not fetched: every format reports it with the remedy."""

import pytest
from image_formats import read_refs

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.images.decode import open_header
from ray_jobs.images.reject_reasons import ImageRejected
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.lfs_pointers import REMEDY
from ray_jobs.storage import objects

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 463000000\n"


@pytest.mark.parametrize(
    "name",
    [
        "data/val-00000-of-00001.parquet", "a.arrow", "00000.tar", "m.jsonl", "m.csv", "m.tsv", "m.json",
        "captions.txt", "metadata.jsonl", "metadata.csv",
    ],
)  # fmt: skip
def test_a_pointer_in_place_of_a_data_set_is_reported(store: str, name: str) -> None:
    objects.write(f"{store}/it/{name}", POINTER)
    source = f"{store}/it" if name.startswith(("data/", "metadata")) else f"{store}/it/{name}"
    kind = "folder" if name.startswith("metadata") else "auto"
    with pytest.raises(InputError, match=f"{name}: {REMEDY}"):
        read_refs(Dataset(source=source, references="caption", format=kind))


def test_a_pointer_in_place_of_an_image_is_reported() -> None:
    with pytest.raises(ImageRejected, match=REMEDY):
        open_header(POINTER, Preprocess())
