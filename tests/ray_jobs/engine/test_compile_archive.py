import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from ray_jobs.engine.compile_archive import BadArchive, pack, unpack


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A folder as compilers leave it."""
    folder = tmp_path / "compiled"
    (folder / "vllm" / "rank_0_0").mkdir(parents=True)
    (folder / "vllm" / "rank_0_0" / "model").write_bytes(os.urandom(100_000))
    (folder / "triton").mkdir()
    (folder / "triton" / "kernel.cubin").write_bytes(b"\0" * 5000)
    (folder / "triton" / "empty.json").touch()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (folder := tmp_path / "target").mkdir()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def archive_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """An object that is sound in length and hash, with these members."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    content = sink.getvalue()
    header = {"schema": 1, "length": len(content), "blake3": blake3(content).hexdigest(), "made_at": 0.0}
    return json.dumps(header).encode() + b"\n" + content


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_folder_comes_back_as_it_was(compiled: Path, target: Path) -> None:
    header = unpack(pack(compiled), target)
    assert contents(target) == contents(compiled)
    assert header.made_at > 1e9


def test_links_and_pipes_are_left_out(compiled: Path, target: Path) -> None:
    files = contents(compiled)
    (compiled / "link").symlink_to("/etc/passwd")
    os.mkfifo(compiled / "pipe")
    unpack(pack(compiled), target)
    assert contents(target) == files


def flip(data: bytes) -> bytes:
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1], "bytes of"),
        (lambda data: data[: len(data) // 2], "bytes of"),
        (lambda data: data + b"x", "bytes of"),
        (flip, "not those that were written"),
        (lambda data: data.replace(b'"schema": 1', b'"schema": 2', 1), "version 2"),
        (lambda data: b"", "first line"),
        (lambda data: b"\x1f\x8b" + data, "first line"),
        (lambda data: b"[]\n" + data, "first line"),
    ],
)
def test_a_damaged_object_is_refused_before_a_file_is_written(
    compiled: Path, target: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    with pytest.raises(BadArchive, match=reason):
        unpack(damage(pack(compiled)), target)
    assert contents(target) == {}


@pytest.mark.parametrize(
    "hostile",
    [
        member("/tmp/assay-hostile"),
        member("../outside"),
        member("vllm/../../outside"),
        member("vllm/link", tarfile.SYMTYPE, "/etc"),
        member("vllm/link", tarfile.LNKTYPE, "../outside"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
        member("folder", tarfile.DIRTYPE),
        member("."),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
def test_only_plain_files_inside_the_folder_are_unpacked(target: Path, hostile: tarfile.TarInfo) -> None:
    with pytest.raises(BadArchive):
        unpack(archive_of((hostile, b"")), target)
    assert list(target.rglob("*")) == []
    assert not (target.parent / "outside").exists()


def test_two_files_of_one_name_are_refused(target: Path) -> None:
    with pytest.raises(BadArchive):
        unpack(archive_of((member("kernel"), b"1"), (member("kernel"), b"2")), target)
    assert contents(target) == {"kernel": b"1"}


def test_a_folder_that_is_too_large_is_not_packed(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_jobs.engine.compile_archive.MAX_BYTES", 50_000)
    with pytest.raises(BadArchive):
        pack(compiled)


def test_an_object_that_unpacks_to_too_much_is_refused(
    compiled: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pack(compiled)
    monkeypatch.setattr("ray_jobs.engine.compile_archive.MAX_UNPACKED_BYTES", 50_000)
    with pytest.raises(BadArchive, match="more than"):
        unpack(data, target)
