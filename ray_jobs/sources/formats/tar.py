"""List the samples of a tar file from its headers: the members, and the bytes at which they lie.

`webdataset` calls this module.
"""

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BufferedReader

from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.cells.texts import escape_unencodable
from ray_jobs.sources.listing.skipped_files import SkippedFiles
from ray_jobs.storage.arrow_files import open_stored

NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)$", re.DOTALL)  # webdataset.tariterators.base_plus_ext
META = re.compile(r"__[^/]*__($|/)")  # members that webdataset skips
COMPRESSED = {
    re.compile(rb"\x1f\x8b\x08"): "gzip",
    re.compile(rb"BZh[1-9]1AY&SY"): "bzip2",
    re.compile(rb"\xfd7zXZ\0"): "xz",
    re.compile(rb"\x28\xb5\x2f\xfd"): "zstd",
}
BLOCK = 512
MOST_TEXT = 16 * 2**20  # bytes of a member that is read while listing


@dataclass
class TarSample:
    """Consecutive members of one key: `members` has offset and size by extension, `texts` the content of some."""

    key: str
    number: int
    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)


def list_samples(uri: str, texts: Callable[[TarSample], set[str]] | None = None) -> Iterator[TarSample]:
    """Yield the samples of a shard in order, numbered from 0. The members that `texts` returns are read too.

    Raises InputError for a shard that is cut off, corrupt or compressed. If an extension comes a second time, another
    sample begins, so that nothing is lost.
    """
    with open_stored(uri) as file:
        current: TarSample | None = None
        number = 0
        others = SkippedFiles(uri, "{key}.{extension}")
        for member in _members(uri, file):
            name = NAME.match(member.name)
            if META.match(member.name) or member.isdir() or "__MACOSX" in member.name.split("/"):
                continue
            if name is None or not member.isreg() or member.issparse():
                others.add(escape_unencodable(member.name))
                continue
            key, extension = name[1], name[2].lower()
            if current is None or key != current.key or extension in current.members:
                if current is not None:
                    yield _with_texts(file, current, texts)
                current = TarSample(key, number)
                number += 1
            current.members[extension] = (member.offset_data, member.size)
        if current is not None:
            yield _with_texts(file, current, texts)
        others.log()


def _with_texts(file: BufferedReader, sample: TarSample, texts: Callable[[TarSample], set[str]] | None) -> TarSample:
    for name in texts(sample) if texts else ():
        offset, size = sample.members[name]
        if size > MOST_TEXT:
            raise InputError(f"{sample.key}.{name} has {size} bytes, over {MOST_TEXT}; write its text shorter")
        file.seek(offset)
        sample.texts[name] = file.read(size)
    return sample


def _members(uri: str, file: BufferedReader) -> Iterator[tarfile.TarInfo]:
    packed = next((name for magic, name in COMPRESSED.items() if magic.match(file.peek(10))), None)
    if packed or not uri.lower().endswith(".tar"):
        fault = f"compressed ({packed})" if packed else "not named .tar"
        raise InputError(f"dataset {uri}: {fault}; decompress it: a compressed shard cannot be read in parts")
    if not file.peek(1):
        raise InputError(f"dataset {uri}: empty, not even an empty tar file; write it again")
    offset = 0
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (the file is not its own)
        while member := tar.next():
            if tar.offset <= offset:  # a size below zero, which leads back to an earlier header
                raise ValueError(f"a member of {member.size} bytes")
            yield member
            tar.members.clear()  # type: ignore[attr-defined] # they are kept for a lookup that nobody asks for
            offset = tar.offset
    except (tarfile.TarError, ValueError, OverflowError) as error:
        offset = min(offset, file.seek(0, 2))
        raise InputError(
            f"dataset {uri}: cut off or corrupt at byte {offset}: {error}; write or copy it again"
        ) from None
    _check_end(uri, file, tar.offset)


def _check_end(uri: str, file: BufferedReader, end: int) -> None:
    """Raise InputError unless the file ends with zeros, because `tarfile` takes any broken header for the end."""
    file.seek(end)
    mark = file.read(BLOCK)
    if len(mark) < BLOCK or any(mark):
        fault = "an unreadable header" if any(mark) else "no end mark"
        raise InputError(f"dataset {uri}: cut off or corrupt at byte {end}: {fault}; write or copy it again")
    while rest := file.read(2**20):
        if rest.strip(b"\0"):
            raise InputError(
                f"dataset {uri}: goes on behind its end mark at byte {end}, as concatenated tar files do; "
                "unpack it and pack it again"
            )
