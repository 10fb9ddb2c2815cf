"""Reads a checkpoint's weights into the page cache while Python still imports vLLM. The engine's actor calls it.

It is a hint only: what vLLM loads is verified as without it, and a file that cannot be read is left to vLLM.
"""

import ctypes
import logging
import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

log = logging.getLogger("assay")

THREADS = 4
PIECE_BYTES = 16 << 20  # bytes that a thread reads at once
SHARE_OF_MEMORY = 0.5  # of the memory that is available: more would push out what other processes read
CGROUP = Path("/sys/fs/cgroup")


def read_ahead(folder: Path) -> int:
    """Read the folder's safetensors files unless they are in the page cache. Returns the bytes that were read.

    Files that do not fit into SHARE_OF_MEMORY of the available memory are left out.
    """
    began, room, count = time.monotonic(), SHARE_OF_MEMORY * available_memory(), 0
    with suppress(OSError, ValueError), ThreadPoolExecutor(THREADS) as threads:
        for path in sorted(folder.glob("*.safetensors")):
            if (size := path.stat().st_size) > room:
                break
            room -= size
            with path.open("rb", buffering=0) as file:
                pieces = [start for start in range(0, size, PIECE_BYTES) if not _is_cached(file.fileno(), start, size)]
                count += sum(threads.map(partial(_read_piece, file.fileno()), pieces))
    if count:
        log.info("engine: read %.1f GB of weights ahead in %.1f s", count / 1e9, time.monotonic() - began)
    return count


def available_memory() -> int:
    """The bytes of memory that this process may still use: of the machine, or of its container if that has less."""
    with open("/proc/meminfo") as file:
        available = next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    with suppress(OSError, ValueError):  # no such files, or no limit
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        available = min(available, max(0, limit - used))
    return available


def _read_piece(file: int, start: int) -> int:
    """Have the kernel read the piece, without a copy for this process. Returns the bytes that were read."""
    with open(os.devnull, "wb") as nothing:
        end, position = start + PIECE_BYTES, start
        while position < end and (count := os.sendfile(nothing.fileno(), file, position, end - position)):
            position += count
    return position - start


def _is_cached(file: int, start: int, size: int) -> bool:
    """Whether the piece's first, middle and last page are in the page cache."""
    last = min(start + PIECE_BYTES, size) - 1
    return all(_is_page_cached(file, position) for position in (start, (start + last) // 2, last))


def _is_page_cached(file: int, position: int) -> bool:
    resident, page = ctypes.c_ubyte(), position // mmap.PAGESIZE * mmap.PAGESIZE
    with mmap.mmap(file, 1, offset=page, access=mmap.ACCESS_COPY) as mapped:
        first = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(first)), 1, ctypes.byref(resident))
        del first
    return not failed and bool(resident.value & 1)
