"""Which files below a source belong to its data, told by their names alone.

`plan` calls this for the revision of a source, and every source for its listing, so that both mean the same files. It
opens no file. Two rules:

- What data tools write beside the data is passed over: `_temporary/`, `_delta_log/`, `__MACOSX/`, and below a folder
  whatever has a name or a folder that begins with `_`, as Spark, Arrow and Ray do. Images are the exception, because
  cameras write `_DSC0001.jpg`.
- A split is a folder (`validation/`, `val2017/`, `split=validation/`) or a part of the name of a table or a shard
  (`data/validation-00000-of-00004.parquet`, `cc3m-val-0001.tar`).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from ray_jobs.dataset import image_formats
from ray_jobs.inputs.errors import InputError, nearest
from ray_jobs.inputs.names import printable

ALL = "all"  # the value of `split` that takes every split
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
FIRST_MANIFESTS = (".jsonl", ".ndjson", ".csv", ".tsv")  # whose revision is that of the file alone
METADATA = ("metadata.jsonl", "metadata.csv")
LEFT_BY_TOOLS = ("_temporary", "_tmp", "_delta_log")
FOLDER = re.compile(
    rf"(?:(?:images?|imgs?|data)[-._ ]?)?({'|'.join(SPLIT_OF)})(?:[-._ ]?(?:\d+|set|data|images?|imgs?|split))*",
    re.IGNORECASE,
)
NO_CLASSES = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data")
SNAPSHOT = re.compile(r"snapshots/[0-9a-f]{40}(?=/)")  # of a repository in the hub's cache
FIRST_SHARD = re.compile(r"-00000-of-\d{5}")  # of the files that the hub cuts a split into
WORD = re.compile(r"[^-._ \d]+")
SHOWN = 5


def is_left_by_tools(key: str) -> bool:
    """Whether a data tool wrote this file for itself: it is no part of the data."""
    *folders, name = key.split("/")
    if any(folder.startswith("__") or folder.lower() in LEFT_BY_TOOLS for folder in folders):
        return True
    return any(part.startswith("_") for part in (*folders, name)) and not name.lower().endswith(image_formats.SUFFIXES)


def is_hashed(key: str) -> bool:
    """Whether the file counts for the revision of its source.

    All files do, as they always did, so that no id moves where `_SUCCESS` or `_metadata` lie beside the data. Only data
    that a tool left counts no more: earlier versions read it, so what they made is of another content.
    """
    return not (is_left_by_tools(key) and key.lower().endswith((*image_formats.SUFFIXES, *TABLES)))


def parse_partitions(key: str) -> dict[str, str]:
    """The columns that folders like `label=cat/` give to the rows below them, as Spark and Hive write them."""
    pairs = (folder.partition("=") for folder in key.split("/")[:-1])
    # Spark writes characters that a path cannot have as %3A.
    return {name: unquote(value) for name, sign, value in pairs if sign and name and value != NO_VALUE}


NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # what Spark writes for null


def splits_in_path(key: str) -> Iterator[tuple[str, str]]:
    """Each split that the path of a data file tells, with the folder that tells it, the outermost first."""
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
    """How the path of a file spells the split that it belongs to, where that is the split; None where it is not."""
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
    """Whether a folder is called by what lies in it, `images`, or by a split: that is the label of no image."""
    return folder.lower() in NO_CLASSES or FOLDER.fullmatch(folder) is not None


def is_named_for(name: str, split: str) -> bool:
    """Whether the name of one file says that all of it is of the split: `captions_val2017.json`."""
    stem = name.rpartition("/")[2].partition(".")[0]
    return split == ALL or is_of_split(f"{stem}.parquet", split) is not None


def candidate_image_folders(manifest: str) -> list[str]:
    """Where the images of a file of COCO's kind may lie, the likeliest first, and beside the file at last.

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
    """Decides which of a source's files are read, and remembers what it must tell when all have been seen.

    `folder` names the source in errors. `split` is that of the suite. `suffixes` are those of the files that hold the
    source's images, all kinds where the format is not known yet.
    """

    folder: str
    split: str | None
    suffixes: tuple[str, ...] = (*image_formats.SUFFIXES, *TABLES)
    passed: list[str] = field(default_factory=list)
    count_passed: int = 0
    spellings: dict[str, None] = field(default_factory=dict)
    others: dict[str, None] = field(default_factory=dict)
    by_place: dict[str, dict[str, str]] = field(default_factory=dict)
    chosen: int = 0
    count_data: int = 0
    is_delta: bool = False
    snapshots: dict[str, None] = field(default_factory=dict)
    configurations: dict[str, None] = field(default_factory=dict)

    def takes(self, key: str) -> bool:
        """Whether the file is read."""
        if is_left_by_tools(key):
            self.count_passed += 1
            self.is_delta = self.is_delta or "_delta_log/" in key
            if len(self.passed) < SHOWN:
                self.passed.append(printable(key))
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
            if spelling in SPLIT_OF and (place in self.by_place or len(self.by_place) < 1000):
                self.by_place.setdefault(place, {}).setdefault(SPLIT_OF[spelling], spelling)
        if self.split in (None, ALL):
            return True
        if spelled := is_of_split(key, str(self.split)):
            self.spellings[spelled] = None
            self.chosen += 1
            return True
        if len(self.others) < SHOWN:
            self.others.update(dict.fromkeys(spelling for spelling, _ in splits_in_path(key)))
        return False

    def doubts(self) -> Iterator[str]:
        """What a person should know of the files that are read, one line each."""
        if self.is_delta:
            yield "is a Delta table: files that its log has removed are read too; export it, or VACUUM it before"
        if len(self.configurations) > 1:
            some = ", ".join(list(self.configurations)[:3])
            yield f"holds shards in several folders ({some}), which on the hub are configurations: all of them are read"

    def check(self) -> None:
        """Raise InputError where several splits would be mixed and none is named, or two spellings mean the named
        one."""
        if len(self.snapshots) > 1:
            raise InputError(
                f"dataset {self.folder}: holds several snapshots of a repository ({', '.join(self.snapshots)}); name "
                f"one, `source: {self.folder}/{next(iter(self.snapshots))}`"
            )
        if self.split is None:
            for place, splits in self.by_place.items():
                if len(splits) > 1:
                    spelled = ", ".join(sorted(splits.values()))
                    where = f" in {place}/" if place else ""
                    raise InputError(
                        f"dataset {self.folder}: its files are of the splits {spelled}{where}; name the one to use, "
                        f"`split: {splits.get('validation') or next(iter(splits.values()))}`, or write `split: all`"
                    )
        if len(self.spellings) > 1:
            spelled = " and ".join(sorted(self.spellings))
            raise InputError(
                f"dataset {self.folder}: {spelled} both mean the split {self.split!r}; name the folder or the files of "
                "one of them in `source`"
            )

    def refuse_missing(self, known: Iterable[str] = ()) -> None:
        """Raise InputError that no file is of the split, with what to write instead."""
        names = [*self.others, *known]
        hint = nearest(str(self.split), names) if names else "; its files are not named by splits: take `split` out"
        raise InputError(f"dataset {self.folder}: no split {self.split!r}{hint}")

    def _is_data(self, key: str) -> bool:
        """Whether the file holds images, or describes the images of its folder."""
        name = key.lower()
        return name.endswith(self.suffixes) or name.rpartition("/")[2] in METADATA
