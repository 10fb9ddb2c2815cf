"""Sources as bytes: the first byte picks the format, the rest is the file.

Anything that listing and reading raise but InputError is a finding, and so is a folder that code in the file made.
"""

import io
import json
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.listing.bounds import limit_listing
from ray_jobs.sources.open_source import open_source

NAMES = ("x.parquet", "x.arrow", "x.jsonl", "x.csv", "x.tar")
MOST = 1000


def SEEDS() -> list[bytes]:
    """A small good file of each format, and both formats of Arrow."""
    table = pa.table({"image": [b"\xff\xd8", None], "label": ["a", "b"], "said": [["x"], []]})
    parquet, file, stream, tar = (io.BytesIO() for _ in range(4))
    pq.write_table(table, parquet)
    with pa.ipc.new_file(file, table.schema) as sink:
        sink.write_table(table)
    with pa.ipc.new_stream(stream, table.schema) as sink:
        sink.write_table(table)
    with tarfile.open(fileobj=tar, mode="w") as opened:
        for name, data in (("a.png", b"\x89PNG"), ("a.json", b'{"label": 1}')):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
    rows = "\n".join(json.dumps({"file": name, "label": 1}) for name in ("a.png", "../b.png", "/etc/passwd"))
    files = [parquet.getvalue(), file.getvalue(), rows.encode(), b'file,label\n"a.png",1\n', tar.getvalue()]
    return [bytes([number]) + data for number, data in enumerate(files)] + [b"\x01" + stream.getvalue()]


def try_input(data: bytes) -> None:
    """List and read the source that the bytes are. Raises what they should not make it raise."""
    if not data:
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, NAMES[data[0] % len(NAMES)])
        path.write_bytes(data[1:])
        try:
            source = open_source(Dataset(source=str(path)))
            refs = [ref for ref, _ in zip(limit_listing(str(path), source.list_images()), range(MOST), strict=False)]
            for row in source.read(refs):
                if row.file is not None and Path(folder) not in row.file.parents:
                    raise AssertionError(f"{row.file} lies outside")
        except InputError:
            pass
