"""Refuse the settings of a data set that its format does not use, because a setting without effect misleads its author.

`open_source` calls this when the format is known. Some faults show only in the files: no file is of the split, or no
image lies in a subfolder. The source itself refuses these while it lists.
"""

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset.revision import is_hub_name
from ray_jobs.inputs.errors import InputError

KINDS = {
    "folder": "a folder of images",
    "parquet": "of Parquet files",
    "arrow": "of Arrow files",
    "webdataset": "of WebDataset shards",
    "huggingface": "a Hugging Face data set",
}


def refuse_unused(dataset: Dataset, kind: str) -> None:
    """Raise InputError for a setting that the format `kind` does not use. The message says what to write instead."""
    if dataset.config is not None and not is_hub_name(dataset):
        raise InputError(
            f"dataset {dataset.source}: `config` is for a data set that is named on the Hugging Face hub; take it out, "
            f"or name the folder: `source: {dataset.source}/{dataset.config}`"
        )
    if dataset.image is not None and kind == "folder":
        raise InputError(
            f"dataset {dataset.source}: `image: {dataset.image}` names a column, and a folder of images has none; take "
            "it out, or name the manifest as `source`"
        )
    if dataset.images is not None and kind != "manifest":
        raise InputError(
            f"dataset {dataset.source}: `images: {dataset.images}` is the folder of the images that a manifest names, "
            f"and this is {KINDS[kind]}; take it out"
        )
