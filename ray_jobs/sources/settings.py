"""Refuses the settings of a data set that its format does not use: a setting without effect is a wrong belief.

`open_source` calls this once the format is known. What only the files can tell (no file is of the split, no image lies
in a subfolder) the source itself refuses while it lists.
"""

from ray_jobs.contract.suite import Dataset
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
    """Raise InputError for a setting that the format `kind` does not use, with what to write instead."""
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
