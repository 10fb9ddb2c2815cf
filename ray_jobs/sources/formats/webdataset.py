"""Read WebDataset shards: tar files in which the members of one key are one sample, as `webdataset` groups them.

The listing reads the headers, and the texts only where it needs them. An image is read as a range of its shard.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from ray_jobs.contract.sections.dataset import Dataset
from ray_jobs.dataset import image_formats
from ray_jobs.images.bounds import max_image_bytes
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.sources.cells.columns import check_column
from ray_jobs.sources.cells.labels import LabelNames, name_label, read_label_names
from ray_jobs.sources.cells.texts import CellFault, decode_text, escape_unencodable
from ray_jobs.sources.cells.values import read_label, read_texts
from ray_jobs.sources.formats.shards import list_shards, shard_title, uri_of
from ray_jobs.sources.formats.tar import TarSample, list_samples
from ray_jobs.sources.listing.spill import open_database
from ray_jobs.sources.listing.spill import open_unique_names as unique_names
from ray_jobs.sources.reading.fetch import distance_of, read_streams_in_order, reads_at_once
from ray_jobs.sources.source import SUFFIXES, Distance, ImageRef, SourceImage
from ray_jobs.storage import objects

IMAGES = (*(suffix[1:] for suffix in image_formats.SUFFIXES), "img")
HEAD = 100  # samples that together must have every member that the settings name
IMAGE = ""  # the image's key instead of its extension, because the label may have the same extension
EXTENSIONS = "sample (name BLOB PRIMARY KEY, extensions TEXT) WITHOUT ROWID"
GAP = 2**20  # bytes between the members of a sample that are read too, to save a request


class WebDatasetSource:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def distance(self) -> Distance:
        return distance_of(self.dataset.source)

    def list_images(self) -> Iterator[ImageRef]:
        names = read_label_names(self.dataset)
        everything = self._list_samples()
        head = list(islice(everything, HEAD))
        self._check([sample for _, sample in head])
        with unique_names() as unique_ids, open_database(EXTENSIONS) as seen:
            for shard, sample in chain(head, everything):
                self._refuse_scattered(shard, sample, seen)
                label = self._read_listed_label(sample)
                name_label(label, names, self.dataset)  # report a listed label without a name now
                image = self._find_image(sample)
                others = {
                    name: place for name, place in sample.members.items() if name in self._find_text_members(sample)
                }
                where = json.dumps([shard, image, others], separators=(",", ":"))
                image_id = unique_ids.unique(
                    f"{shard_title(self.dataset, shard)}/{escape_unencodable(sample.key)}", sample.number
                )
                yield ImageRef(image_id, where, image[1] if image else 0, label)

    def read(self, located: Sequence[ImageRef]) -> Iterator[SourceImage]:
        row = partial(self._read_row, names=read_label_names(self.dataset))
        return prefetch(row, located, reads_at_once(self.dataset, self.distance))

    def _read_row(self, ref: ImageRef, names: LabelNames | None) -> SourceImage:
        shard, image, others = json.loads(ref.where)
        uri = uri_of(self.dataset, shard)
        try:
            pieces = _read_members(uri, others | ({IMAGE: image} if image else {}))
            cells = {name: self._read_value(pieces, name) for name in self._text_names()}
            texts = read_texts(cells, self.dataset.label, self.dataset.references, self.dataset.truth)
        except FileNotFoundError:
            raise RetryableError(f"{uri}: was listed and is not there; is it mounted on this node too?") from None
        except InputError as error:
            return SourceImage(ref.image_id, None, detail=" ".join(str(error).split()))
        if texts.fault:
            return SourceImage(ref.image_id, None, detail=texts.fault)
        name, label_id = name_label(texts.label, names, self.dataset)
        detail = "" if image else "the sample has no image"
        return SourceImage(ref.image_id, pieces.get(IMAGE), None, name, label_id, texts.references, detail, texts.truth)

    def _list_samples(self) -> Iterator[tuple[str, TarSample]]:
        """Yield shard and sample in order. Texts are read in the first shard, to check settings, and for labels."""
        streams = (
            partial(self._list_shard, shard, not number or self.dataset.stratify)
            for number, shard in enumerate(list_shards(self.dataset, SUFFIXES["webdataset"]))
        )
        return read_streams_in_order(
            streams, 1 if self.distance == "local" else reads_at_once(self.dataset, self.distance)
        )

    def _list_shard(self, shard: str, with_texts: bool) -> Iterator[tuple[str, TarSample]]:
        for sample in list_samples(uri_of(self.dataset, shard), self._find_text_members if with_texts else None):
            yield shard, sample

    def _check(self, head: list[TarSample]) -> None:
        """Raise InputError if none of these samples has a member or key that the settings name."""
        source = self.dataset.source
        if not head:
            raise InputError(f"dataset {source}: its shards hold no samples; check the URI")
        extensions = sorted({name for sample in head for name in sample.members})
        if not any(map(self._find_image, head)):
            missing = f"member {self.dataset.image!r}" if self.dataset.image else "member named like an image"
            fault = (
                f"no {missing} in its first samples, but {', '.join(extensions)}; set `dataset.image` to one of them"
            )
            if any(f".{name}".endswith(image_formats.SUFFIXES) for name in extensions):
                fault += "; a key ends at the first dot of a name, so other dots in it have to go"
            elif not self.dataset.image:
                fault += "; if images follow further down, pack the files again, with tar --sort=name"
            raise InputError(f"dataset {source}: {fault}")
        truth = ((f"the truth of {field!r}", column) for field, column in self.dataset.truth.items())
        for role, name in (("label", self.dataset.label), ("references", self.dataset.references), *truth):
            if name and name.lower() not in extensions:
                keys = {key for sample in head if "json" in sample.texts for key in _keys(sample.texts["json"])}
                check_column(name, role, source, sorted(keys) + extensions)

    def _refuse_scattered(self, shard: str, sample: TarSample, known: sqlite3.Connection) -> None:
        """Raise InputError if a sample of the same key, with other members, came earlier in the shard."""
        name, extensions = f"{shard}/{sample.key}", "/".join(sample.members)
        query = "INSERT INTO sample VALUES (?, ?) ON CONFLICT DO NOTHING"
        if known.execute(query, (_id(name), extensions)).rowcount:
            return
        (before,) = known.execute("SELECT extensions FROM sample WHERE name = ?", (_id(name),)).fetchone()
        if not sample.members.keys() & set(before.split("/")):
            key = escape_unencodable(sample.key)
            raise InputError(
                f"dataset {uri_of(self.dataset, shard)}: the members of {key!r} are not side by side "
                f"({before} and, further down, {extensions}); pack the files again, with tar --sort=name"
            )

    def _find_image(self, sample: TarSample) -> tuple[int, int] | None:
        wanted = (self.dataset.image.lower(),) if self.dataset.image else IMAGES
        return next((sample.members[name] for name in wanted if name in sample.members), None)

    def _find_text_members(self, sample: TarSample) -> set[str]:
        """Return the members that hold the label, the references and the truth: by name, else the sample's json."""
        text_names = [name.lower() for name in self._text_names()]
        return {name if name in sample.members else "json" for name in text_names} & sample.members.keys()

    def _text_names(self) -> list[str]:
        names = (self.dataset.label, self.dataset.references, *self.dataset.truth.values())
        return [name for name in names if name]

    def _read_listed_label(self, sample: TarSample) -> str | None:
        if not self.dataset.stratify:
            return None
        try:
            return read_label(self._read_value(sample.texts, self.dataset.label))
        except (InputError, CellFault):  # the fault is reported when this row is read
            return None

    def _read_value(self, pieces: dict[str, bytes], name: str | None) -> Any:
        """Return the value of that name in a sample: the text of the member, or the value in the sample's json."""
        if name is None or name.lower() in pieces:
            return _text(pieces[name.lower()]) if name else None
        if "json" not in pieces:
            return None
        try:
            return dict(json.loads(pieces["json"])).get(name)
        except (ValueError, TypeError, RecursionError):
            raise InputError("the sample's json is not a JSON object") from None


def _read_members(uri: str, places: dict[str, list[int]]) -> dict[str, bytes]:
    """Return the members at these offsets and sizes by name, with one request if they lie close together."""
    if not places:
        return {}
    if max(size for _, size in places.values()) > max_image_bytes():
        raise InputError(f"a member of over {max_image_bytes()} bytes; ASSAY_MAX_IMAGE_MB may allow more")
    start = min(offset for offset, _ in places.values())
    length = max(offset + size for offset, size in places.values()) - start
    if length - sum(size for _, size in places.values()) <= GAP:
        whole = objects.read_range(uri, start, length)
        pieces = {name: whole[offset - start : offset - start + size] for name, (offset, size) in places.items()}
    else:
        pieces = {name: objects.read_range(uri, offset, size) for name, (offset, size) in places.items()}
    for name, (offset, size) in places.items():
        if len(pieces[name]) < size:
            raise RetryableError(f"{uri}: ends before byte {offset + size}; it changed since it was listed: plan again")
    return pieces


def _id(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _text(member: bytes) -> str | bytes:
    """Return the text of a member, or its bytes if they are not a text: `cells.values` reports the fault."""
    try:
        return decode_text(member).strip()
    except CellFault:
        return member


def _keys(data: bytes) -> list[str]:
    try:
        return list(dict(json.loads(data)))
    except (ValueError, TypeError, RecursionError):
        return []
