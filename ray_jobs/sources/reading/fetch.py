"""Fetch the image that a cell names, from a disk, an object store or the web, and read several streams ahead.

The sources call this, in the process that reads a source. Memory holds at most as many images as are read at once.
"""

import errno
import posixpath
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, TypeVar

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.images.bounds import max_image_bytes
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.sources.cells.images import read_image
from ray_jobs.sources.cells.texts import CellFault, escape_unencodable
from ray_jobs.sources.reading import allowed_places, web
from ray_jobs.sources.source import Distance
from ray_jobs.storage import objects

T = TypeVar("T")
READS: dict[Distance, int] = {"local": 1, "object-store": 16, "web": 32}
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)
BATCH, WAITING = 100, 20  # items per batch, and how many batches a stream may be ahead before the stream must wait


@dataclass(frozen=True)
class FetchedImage:
    """An image's bytes, or the local file with them, or neither. In the last case `detail` says why."""

    data: bytes | None = None
    file: Path | None = None
    detail: str = ""
    absent: bool = False


def reads_at_once(dataset: Dataset, distance: Distance) -> int:
    """Return how many images one task reads at once: the dataset's `reads`, else a number by distance."""
    return dataset.reads or READS[distance]


def distance_of(place: str) -> Distance:
    """Return how far away a path or URL is."""
    if place.lower().startswith(web.SCHEMES):
        return "web"
    return "object-store" if place.startswith("s3://") else "local"


def read_streams_in_order(streams: Iterable[Callable[[], Iterator[T]]], width: int) -> Iterator[T]:
    """Yield the items of the streams, stream by stream. Reads up to `width` streams ahead, WAITING batches of each.

    `prefetch` would keep whole streams in memory, and a stream may be as long as a shard of a million images. Here a
    stream waits when the caller falls behind.
    """
    if width == 1:
        for stream in streams:
            yield from stream()
        return
    stopped = threading.Event()

    def fill(stream: Callable[[], Iterator[T]], batches: "Queue[list[T]]") -> None:
        items = stream()
        while batch := list(islice(items, BATCH)):
            while not stopped.is_set():
                try:
                    batches.put(batch, timeout=0.1)
                    break
                except Full:
                    continue
            if stopped.is_set():
                return

    def drain(batches: "Queue[list[T]]", filling: "Future[None]") -> Iterator[T]:
        while not (filling.done() and batches.empty()):
            with suppress(Empty):
                yield from batches.get(timeout=0.1)
        filling.result()

    waiting: deque[tuple[Queue[list[T]], Future[None]]] = deque()
    pool = ThreadPoolExecutor(width, thread_name_prefix="list")
    try:
        for stream in streams:
            if len(waiting) == width:
                yield from drain(*waiting.popleft())
            batches: Queue[list[T]] = Queue(WAITING)
            waiting.append((batches, pool.submit(fill, stream, batches)))
        while waiting:
            yield from drain(*waiting.popleft())
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def fetch_cell(cell: Any, folder: str) -> FetchedImage:
    """The image that a cell contains or names. `folder` is the folder of the cell's file.

    Raises RetryableError as `fetch_place` does.
    """
    try:
        image = read_image(cell)
    except CellFault as fault:
        return FetchedImage(detail=f"its image: {fault}")
    if isinstance(image, str):
        return fetch_named(image, folder)
    return FetchedImage(image, detail="the image cell is empty" if image is None else "")


def fetch_named(name: str, folder: str) -> FetchedImage:
    """The image at the place that a file of the folder names. Backslashes in the name may be from a Windows path."""
    image = fetch_place(resolve_path(folder, name), folder)
    if image.data is not None or image.file or "\\" not in name:
        return image
    image = fetch_place(resolve_path(folder, name.replace("\\", "/")), folder)
    if not image.absent:
        return image
    remedy = "a path of Windows; write it relative to the data set, with /"
    return FetchedImage(detail=escape_unencodable(f"{name}: no such file: {remedy}"), absent=True)


def fetch_place(place: str, home: str) -> FetchedImage:
    """The image at a path or URL that a data set in the folder `home` names.

    For a missing or refused file, `detail` says so. Raises RetryableError when a disk or an object store fails.
    """
    if distance_of(place) == "web":
        data, detail = web.fetch(place)
        return FetchedImage(data, detail=detail)
    try:
        path = allowed_places.check_place(place, home)
        return FetchedImage(objects.read(place, at_most=max_image_bytes())) if path is None else FetchedImage(file=path)
    except allowed_places.PlaceRefused as error:
        return FetchedImage(detail=escape_unencodable(f"{place}: {error}"))
    except FileNotFoundError:
        return FetchedImage(detail=escape_unencodable(f"{place}: no such file"), absent=True)
    except OSError as error:
        if error.errno not in ABSENT:
            raise RetryableError(f"cannot read {place}: {error}") from error
        return FetchedImage(detail=escape_unencodable(f"{place}: {error.strerror}"), absent=True)
    except (InputError, ValueError) as error:  # ValueError: a path with a null byte
        return FetchedImage(detail=escape_unencodable(" ".join(str(error).split())))


def resolve_path(folder: str, name: str) -> str:
    """The place that `name` means in a file of the folder. A URL or an absolute path stays unchanged."""
    if "://" in name or name.startswith("/"):
        return name
    whole = f"{folder}/{name}"
    if not {".", ".."} & set(name.split("/")):
        return whole
    scheme, _, path = whole.rpartition("://")
    return f"{scheme}://{posixpath.normpath(path)}" if scheme else posixpath.normpath(whole)
