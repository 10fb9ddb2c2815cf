"""Open the tables of counts: check them, map them into memory, and copy them to a node if they are on S3.

`corpus_counts` writes the tables. A task that scores a part reads them.
"""

import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.metrics.text import frequencies
from ray_jobs.metrics.text.frequencies import ENTRY_BYTES, Frequencies
from ray_jobs.runtime import private_cache
from ray_jobs.storage import json_files, objects, uris


@cache
def open_table(uri: str, name: str) -> Frequencies:
    """The table, mapped into memory.

    Raises RetryableError when a file of the table is missing, and InputError when a file differs from its SHA-256.
    """
    try:
        index = json_files.load_json(f"{uri}/tables.json")
        entry = index[name]
        content = hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()[:16]
        folder = uris.local_path(uri) or _copy_to_node(uri, content, index)
        for number, expected_hash in enumerate(entry["sha256"]):
            with (folder / file_name(name, number)).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected_hash:
                    raise InputError(
                        f"{folder / file_name(name, number)}: not what its tables.json says: changed or cut short; "
                        f"delete it and {uri}/tables.json, then run again"
                    )
        return Frequencies(
            entry["total"], tuple(_map_file(folder / file_name(name, n)) for n in range(len(entry["sha256"])))
        )
    except FileNotFoundError:
        raise RetryableError(
            f"{uri}: a file of the table {name} is missing; delete its tables.json and run again"
        ) from None


def _map_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.stat().st_size < ENTRY_BYTES:  # an empty file cannot be mapped
        return frequencies.decode_counts(b"")
    return frequencies.decode_counts(np.memmap(path, np.uint8, "r"))


def _copy_to_node(uri: str, content: str, index: dict[str, Any]) -> Path:
    """The folder with this node's copy of tables on S3. The folder's name contains the digest of their contents."""
    target = private_cache.ensure_cache_folder() / f"tables-{content}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial_copy = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, entry in index.items():
            for number in range(len(entry["sha256"])):
                objects.download(f"{uri}/{file_name(name, number)}", partial_copy / file_name(name, number))
        try:
            partial_copy.rename(target)
        except OSError:  # another process was first, and its copy is the same
            if not target.exists():
                raise
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RetryableError(f"{uri}: cannot copy it to {target}: {error}; make room there and run again") from error
    finally:
        shutil.rmtree(partial_copy, ignore_errors=True)
    return target


def file_name(table: str, number: int) -> str:
    """The name of the file of a range, below the tables' URI."""
    return f"{table}-{number:03d}.counts"
