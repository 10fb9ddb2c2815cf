"""Decide by name which files below a source belong to its data.

`plan` calls this module for the revision of a source, and every source calls it for its listing. So both mean the same
files. The module opens no file. Two rules:

- Files that data tools write for themselves are skipped: `_temporary/`, `_delta_log/`, `__MACOSX/`, and all files with
  a name or a folder that begins with `_`, as Spark, Arrow and Ray write them. Images are the exception, because cameras
  write `_DSC0001.jpg`.
- A split is a folder (`validation/`, `val2017/`, `split=validation/`) or a part of the name of a table or a shard
  (`data/validation-00000-of-00004.parquet`, `cc3m-val-0001.tar`).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from ray_jobs.dataset import image_formats
from ray_jobs.inputs.errors import InputError, suggest
from ray_jobs.inputs.names import printable

ALL = "all"  # the value of `split` that selects every split
SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SPLIT_OF = {spelling: split for split, spellings in SPELLINGS.items() for spelling in spellings}
TABLES = (".parquet", ".arrow", ".feather", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
OF_FORMAT = {  # the files that hold the images of each format
    "folder": image_formats.SUFFIXES,
    "parquet": (".parquet",),
    "arrow": (".arrow", ".feather"),
    "webdataset": tuple(suffix for suffix in TABLES if suffix.startswith((".tar", ".tgz"))),
}
TEXTS = (".jsonl", ".ndjson", ".csv", ".tsv", ".json", ".txt", ".token")
MANIFESTS = (*TEXTS, *(f"{suffix}.gz" for suffix in TEXTS))
FIRST_MANIFESTS = (".jsonl", ".ndjson", ".csv", ".tsv")  # without `images`, the revision covers the manifest alone
METADATA = ("metadata.jsonl", "metadata.csv")
LEFT_BY_TOOLS = ("_temporary", "_tmp", "_delta_log")
FOLDER = re.compile(
    rf"(?:(?:images?|imgs?|data)[-._ ]?)?({'|'.join(SPLIT_OF)})(?:[-._ ]?(?:\d+|set|data|images?|imgs?|split))*",
    re.IGNORECASE,
)
NO_CLASSES = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data")
SNAPSHOT = re.compile(r"snapshots/[0-9a-f]{40}(?=/)")  # the snapshot of a repository in the hub's cache
FIRST_SHARD = re.compile(r"-00000-of-\d{5}")  # the first of the files into which the hub cuts a split
WORD = re.compile(r"[^-._ \d]+")
SHOWN = 5


def is_left_by_tools(key: str) -> bool:
    """True if a data tool wrote this file for itself, so that the file is not part of the data."""
    *folders, name = key.split("/")
    if any(folder.startswith("__") or folder.lower() in LEFT_BY_TOOLS for folder in folders):
        return True
    return any(part.startswith("_") for part in (*folders, name)) and not name.lower().endswith(image_formats.SUFFIXES)


def is_hashed(key: str) -> bool:
    """True if the file counts for the revision of its source.

    Files like `_SUCCESS` and `_metadata` beside the data still count, so that no id changes. Images and tables that a
    tool left no longer count: earlier versions read them, so their golden sets have another content.
    """
    return not (is_left_by_tools(key) and key.lower().endswith((*image_formats.SUFFIXES, *TABLES)))


def parse_partitions(key: str) -> dict[str, str]:
    """Return the columns that folders like `label=cat/` give to the rows below them, as Spark and Hive write them."""
    pairs = (folder.partition("=") for folder in key.split("/")[:-1])
    # Spark writes characters that a path cannot have as %3A.
    return {name: unquote(value) for name, sign, value in pairs if sign and name and value != NO_VALUE}


NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # Spark writes this for null


def splits_in_path(key: str) -> Iterator[tuple[str, str]]:
    """Yield each split in the path of a data file, with the folder that holds the splits, the outermost first."""
    *folders, name = key.split("/")
    for depth, folder in enumerate(folders):
        column, sign, value = folder.partition("=")
        if sign and column.lower() == "split":
            yield value, "/".join(folders[:depth])
        elif match := FOLDER.fullmatch(folder):
            yield match[1].lower(), "/".join(folders[:depth])
    if name.lower().endswith(TABLES):
        yield from ((word.lower(), "/".join(folders)) for word in WORD.findall(name) if word.lower() in SPLIT_OF)


def is_of_split(key: str, split: str) -> str | None:
    """Return the spelling of the split in the path of a file, or None if the file does not belong to the split."""
    wanted = split.lower()
    if canonical := SPLIT_OF.get(wanted):
        first_split = next(splits_in_path(key), None)
        return first_split[0] if first_split and SPLIT_OF.get(first_split[0].lower()) == canonical else None
    *folders, name = key.lower().split("/")
    if wanted in folders or f"split={wanted}" in folders:
        return wanted
    delimited = rf"(^|[-._ ]){re.escape(wanted)}($|[-._ ])"
    return wanted if name.endswith(TABLES) and re.search(delimited, name) else None


def is_no_class(folder: str) -> bool:
    """True if a folder is named after its content (`images`) or after a split, so that the name is not a label."""
    return folder.lower() in NO_CLASSES or FOLDER.fullmatch(folder) is not None


def is_named_for(name: str, split: str) -> bool:
    """True if the name of a file says that all its rows belong to the split, like `captions_val2017.json`."""
    stem = name.rpartition("/")[2].partition(".")[0]
    return split == ALL or is_of_split(f"{stem}.parquet", split) is not None


def candidate_image_folders(manifest: str) -> list[str]:
    """Return the folders in which the images of a COCO-style file may lie, the likeliest first, the file's own last.

    `annotations/captions_val2017.json` describes the images of `val2017/` or `images/val2017/` beside `annotations/`.
    """
    home, _, name = manifest.rpartition("/")
    parent, _, folder = home.rpartition("/")
    subset = name.partition(".")[0].rpartition("_")[2]
    if folder.lower() not in ("annotations", "annotation", "labels") or not parent:
        return [home or "."]
    return [f"{parent}/{subset}", f"{parent}/images/{subset}", f"{parent}/images", home]


@dataclass
class Selection:
    """Decides which of a source's files are read, and collects what `doubts` and `check` report after the last file.

    `folder` names the source in errors. `split` is the suite's. `suffixes` belong to the files that hold the source's
    images; they cover all kinds while the format is not known.
    """

    folder: str
    split: str | None
    suffixes: tuple[str, ...] = (*image_formats.SUFFIXES, *TABLES)
    skipped: list[str] = field(default_factory=list)
    count_skipped: int = 0
    spellings: dict[str, None] = field(default_factory=dict)
    other_splits: dict[str, None] = field(default_factory=dict)
    splits_by_folder: dict[str, dict[str, str]] = field(default_factory=dict)
    count_chosen: int = 0
    count_data: int = 0
    is_delta: bool = False
    snapshots: dict[str, None] = field(default_factory=dict)
    configurations: dict[str, None] = field(default_factory=dict)

    def takes(self, key: str) -> bool:
        """True if the file is read. Records the file for `doubts`, `check` and `refuse_missing`."""
        if is_left_by_tools(key):
            self.count_skipped += 1
            self.is_delta = self.is_delta or "_delta_log/" in key
            if len(self.skipped) < SHOWN:
                self.skipped.append(printable(key))
            return False
        if not self._is_data(key):
            return True
        self.count_data += 1
        folder, _, name = key.rpartition("/")
        if (snapshot := SNAPSHOT.match(key)) and len(self.snapshots) < SHOWN:
            self.snapshots[snapshot[0]] = None
        if FIRST_SHARD.search(name) and len(self.configurations) < SHOWN:
            self.configurations[folder] = None
        for spelling, place in splits_in_path(key):
            if spelling in SPLIT_OF and (place in self.splits_by_folder or len(self.splits_by_folder) < 1000):
                self.splits_by_folder.setdefault(place, {}).setdefault(SPLIT_OF[spelling], spelling)
        if self.split in (None, ALL):
            return True
        if spelling_in_path := is_of_split(key, str(self.split)):
            self.spellings[spelling_in_path] = None
            self.count_chosen += 1
            return True
        if len(self.other_splits) < SHOWN:
            self.other_splits.update(dict.fromkeys(spelling for spelling, _ in splits_in_path(key)))
        return False

    def doubts(self) -> Iterator[str]:
        """Yield warnings about the files that are read, one line each."""
        if self.is_delta:
            yield "is a Delta table: files that its log has removed are read too; export it, or VACUUM it before"
        if len(self.configurations) > 1:
            some = ", ".join(list(self.configurations)[:3])
            yield f"holds shards in several folders ({some}), which on the hub are configurations: all of them are read"

    def check(self) -> None:
        """Raise InputError if several splits or snapshots would be mixed, or if two spellings mean the named split."""
        if len(self.snapshots) > 1:
            raise InputError(
                f"dataset {self.folder}: holds several snapshots of a repository ({', '.join(self.snapshots)}); name "
                f"one, `source: {self.folder}/{next(iter(self.snapshots))}`"
            )
        if self.split is None:
            for place, splits in self.splits_by_folder.items():
                if len(splits) > 1:
                    spellings = ", ".join(sorted(splits.values()))
                    where = f" in {place}/" if place else ""
                    raise InputError(
                        f"dataset {self.folder}: its files are of the splits {spellings}{where}; name the one to use, "
                        f"`split: {splits.get('validation') or next(iter(splits.values()))}`, or write `split: all`"
                    )
        if len(self.spellings) > 1:
            spellings = " and ".join(sorted(self.spellings))
            raise InputError(
                f"dataset {self.folder}: {spellings} both mean the split {self.split!r}; name the folder or the files "
                "of one of them in `source`"
            )

    def refuse_missing(self, known: Iterable[str] = ()) -> None:
        """Raise InputError: no file belongs to the split. The message says what to write instead."""
        names = [*self.other_splits, *known]
        hint = suggest(str(self.split), names) if names else "; its files are not named by splits: take `split` out"
        raise InputError(f"dataset {self.folder}: no split {self.split!r}{hint}")

    def _is_data(self, key: str) -> bool:
        """True if the file holds images, or describes the images of its folder."""
        name = key.lower()
        return name.endswith(self.suffixes) or name.rpartition("/")[2] in METADATA
