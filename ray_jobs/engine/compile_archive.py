"""Packs a folder of compiled code into one object and unpacks it again. `compile_cache` calls it.

The object is one line of JSON with the length and the hash of what follows, a tar file compressed with gzip. The hash
shows a damaged object, not a hostile one: who may write the object may run code where it is unpacked.
"""

import io
import json
import tarfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from blake3 import blake3

VERSION = 1
MAX_BYTES = 512 << 20  # of an object
MAX_UNPACKED_BYTES = 4 << 30
MAX_FILES = 100_000
MAX_HEADER_BYTES = 1000


class BadArchive(Exception):
    """The object is cut, damaged, of another version, too large, or holds more than plain files."""


@dataclass(frozen=True)
class ArchiveHeader:
    """`made_at` is in seconds since the epoch, `length` in bytes."""

    length: int
    blake3: str
    made_at: float


def pack(folder: Path) -> bytes:
    """The folder's files as one object, without links and special files. Raises BadArchive if they are too large."""
    sink, count, size = io.BytesIO(), 0, 0
    with tarfile.open(fileobj=sink, mode="w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # a temporary file of a process that still compiles
                continue
            count, size = count + 1, size + len(data)
            if count > MAX_FILES or size > MAX_UNPACKED_BYTES or sink.tell() > MAX_BYTES:
                raise BadArchive(f"{folder} has more than {MAX_FILES} files, or too many bytes to share")
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    content = sink.getvalue()
    if len(content) > MAX_BYTES:
        raise BadArchive(f"{folder} has {len(content)} bytes when it is packed, more than {MAX_BYTES}")
    header = {"schema": VERSION, "length": len(content), "blake3": blake3(content).hexdigest(), "made_at": time.time()}
    return json.dumps(header).encode() + b"\n" + content


def unpack(data: bytes, folder: Path) -> ArchiveHeader:
    """Unpack the object into the folder, which is empty and this user's alone. Returns its header.

    Raises BadArchive before the first file is written if the object is damaged. Raises BadArchive for a link, a special
    file or a path that leads out of the folder; the folder then holds a part of the files.
    """
    header, content = _check(data)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            for path, member in _list_files(tar):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                file = tar.extractfile(member)
                assert file
                with target.open("xb") as opened:
                    opened.write(file.read())
    except (tarfile.TarError, zlib.error, EOFError, FileExistsError, NotADirectoryError) as error:
        raise BadArchive(f"its tar file cannot be read: {error}") from None
    return header


def _check(data: bytes) -> tuple[ArchiveHeader, memoryview]:
    line, newline, _ = data[:MAX_HEADER_BYTES].partition(b"\n")
    try:
        fields = json.loads(line)
        header = ArchiveHeader(int(fields["length"]), str(fields["blake3"]), float(fields["made_at"]))
        version = fields["schema"]
    except (ValueError, TypeError, KeyError):
        raise BadArchive("its first line is not that of a compile cache") from None
    content = memoryview(data)[len(line) + len(newline) :]
    if version != VERSION:
        raise BadArchive(f"it is of version {version}, and this is version {VERSION}")
    if len(content) != header.length:
        raise BadArchive(f"it has {len(content)} bytes of {header.length}")
    if blake3(content).hexdigest() != header.blake3:
        raise BadArchive("its bytes are not those that were written")
    return header, content


def _list_files(tar: tarfile.TarFile) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo]]:
    """The members with their paths. Raises BadArchive for anything that is not a plain file inside the folder."""
    count = size = 0
    for member in tar:
        path = PurePosixPath(member.name)
        count, size = count + 1, size + member.size
        if not member.isreg() or member.issparse():
            raise BadArchive(f"{member.name!r} is not a plain file")
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in member.name:
            raise BadArchive(f"{member.name!r} leads out of the folder")
        if count > MAX_FILES or size > MAX_UNPACKED_BYTES:
            raise BadArchive("it unpacks to more than a compile cache has")
        yield path, member
