"""Say in one line what to do with a file that no format reads.

`open_source`, `folder` and `side_files` call this module.
"""

from pathlib import PurePosixPath

from ray_jobs.dataset import image_formats
from ray_jobs.dataset.source_files import FIRST_MANIFESTS
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable

READ = ".parquet, .arrow, a WebDataset .tar, or a manifest: .jsonl, .csv, .tsv, .json"
UNPACK = "unpack it and name the folder, or pack it again as a .tar"
REMEDIES = {
    **dict.fromkeys((".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst"), UNPACK),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save its sheet as .csv"),
    **dict.fromkeys((".yaml", ".yml", ".md"), "name the folder or the file that holds the images"),
    **dict.fromkeys(image_formats.SUFFIXES, "it is one image: name its folder"),
}


def unknown_file(source: str) -> InputError:
    """The error for a file that no format reads, with a remedy."""
    suffix = PurePosixPath(source).suffix.lower()
    kind = printable(suffix, 30) or "no suffix"
    remedy = REMEDIES.get(suffix, f"name one of {READ}, or a folder of images")
    return InputError(f"dataset {source}: a file of no format that is read here ({kind}); {remedy}")


def manifests_among(names: list[str]) -> str:
    """The end of an error line that says how to read the possible manifests among these names; empty without any."""
    suffixes = (*FIRST_MANIFESTS, ".json")
    manifests = [printable(name, 60) for name in names if name.lower().removesuffix(".gz").endswith(suffixes)]
    return f"; to read a manifest ({', '.join(manifests[:3])}), name it as `source`" if manifests else ""


def archives_among(names: list[str]) -> str:
    """The end of an error line that says what to do with the archives among these names; empty without any."""
    archives = [name for name in names if REMEDIES.get(PurePosixPath(name).suffix.lower()) == UNPACK]
    return f"; {archives[0]} is an archive, which is not read: {UNPACK}" if archives else ""
