"""Plan a golden set: cut its sample into parts of equal work, and store the plan beside the parts.

    plan/rows-{hash}.parquet   the places of the images of some parts, one row group per part
    plan/plan.json             the list of all parts; written last

A job that continues after a kill, or that runs beside another job, uses the same plan and lists nothing again.
"""

import hashlib
import io
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.contract.frozen_model import FrozenModel
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.stored_model import StoredModel
from ray_jobs.dataset.revision import source_revision
from ray_jobs.golden.former_cells import CELLS
from ray_jobs.golden.sample import Sample, open_sample
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.listing.bounds import limit_listing
from ray_jobs.sources.source import Distance, ImageRef, Source
from ray_jobs.storage import json_files, objects
from ray_jobs.storage.arrow_files import open_parquet
from ray_jobs.storage.manifests import name_of_part

LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "pi-heif", "pyarrow", "simplejpeg")
PARTS_PER_FILE = 64
MEGABYTE = 1_000_000
REF_SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "where": pa.string(),
        "size": pa.int64(),
        "label": pa.string(),
        "references": pa.list_(pa.string()),
        "fault": pa.string(),
        "truth": pa.string(),
    }
)


class PlannedPart(FrozenModel):
    """A part before it is made."""

    name: str
    """The part's name."""
    rows: int
    """The images of the part."""
    bytes: int
    """The size of their files; 0 where it is not known."""
    file: str
    """The Parquet file below `plan/` that lists them."""
    group: int
    """The row group of that file."""


class GoldenPlan(StoredModel):
    """`plan.json`: how the sample is cut into parts."""

    versions: dict[str, str]
    """The versions of what decodes images. A golden set is made with one version of each."""
    listed: int
    """The images of the source, of which the parts hold the sample."""
    parts: tuple[PlannedPart, ...]
    """The parts, in their order."""
    cells: int | None = None
    """How labels and references are read. A plan without it is of an earlier version."""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


def load_or_create_plan(spec: Spec, source: Source) -> GoldenPlan:
    """The plan of the spec's golden set: the stored plan, or a new plan.

    Raises InputError when the settings do not fit the source, when the source changed after the run was planned, or
    when the stored plan is from other versions of the libraries.
    """
    if plan := _load_plan(spec.golden_uri):
        _check_versions(spec.golden_uri, plan)
        return plan
    with open_sample(spec.suite.dataset) as sample:
        listed = sample.draw(limit_listing(spec.suite.dataset.source, source.list_images()))
        if not listed:
            raise InputError(f"dataset {spec.suite.dataset.source}: it has no rows; check the URI and the split")
        check_revision(spec)
        planned_parts = tuple(_write_refs(spec.golden_uri, sample, spec.suite.preprocess))
        new_plan = GoldenPlan(versions=read_library_versions(), listed=listed, parts=planned_parts, cells=CELLS)
    objects.create(f"{spec.golden_uri}/plan/plan.json", new_plan.model_dump_json().encode())
    return _load_plan(spec.golden_uri) or new_plan


def plan_with_distance(spec: Spec, source: Source) -> tuple[GoldenPlan, Distance]:
    """(plan, distance of the images). Both read the source, so `run_in_source_process` runs this."""
    return load_or_create_plan(spec, source), source.distance


def read_refs(golden_uri: str, file: str, group: int) -> list[ImageRef]:
    """The references to the images of a planned part, from its row group of the plan."""
    uri = f"{golden_uri}/plan/{file}"
    with open_parquet(uri) as opened:
        return [ImageRef(**row) for row in opened.read_row_group(group).to_pylist()]


def split_parts(sample: Sample, settings: Preprocess) -> Iterator[list[ImageRef]]:
    """The sample in parts of equal work. A part has at most `part_rows` images and, except for one image, `part_mb`.

    The work of an image is one row and its bytes, each as a share of a part's limit.
    """
    most_rows, most_bytes = settings.part_rows, settings.part_mb * MEGABYTE
    rows, size = sample.total()
    total = rows * most_bytes + size * most_rows  # in rows x bytes, so that all numbers are whole
    count = -(-total // (most_rows * most_bytes))
    part: list[ImageRef] = []
    before, number = 0, 0
    for ref in sample:
        if before * count // total > number:
            yield part
            part, number = [], before * count // total
        part.append(ref)
        before += most_bytes + ref.size * most_rows
    if part:
        yield part


def check_revision(spec: Spec) -> None:
    """Raise InputError when the source changed after the spec was planned."""
    if source_revision(spec.suite.dataset) != spec.source_revision:
        raise InputError(f"dataset {spec.suite.dataset.source}: it changed after the run was planned; plan it again")


def read_library_versions() -> dict[str, str]:
    """The version of every library that affects the golden images."""
    return {name: version(name) for name in LIBRARIES}


def _check_versions(golden_uri: str, plan: GoldenPlan) -> None:
    if others := [
        f"{name} {plan.versions.get(name)}, now {current}"
        for name, current in read_library_versions().items()
        if plan.versions.get(name) != current
    ]:
        raise InputError(f"{golden_uri}: begun with {'; '.join(others)}; delete it, for a set is made with one of each")


def _write_refs(golden_uri: str, sample: Sample, settings: Preprocess) -> Iterator[PlannedPart]:
    """Write the places of the images, in files that are named by their content. Yields the planned parts."""
    numbered = enumerate(split_parts(sample, settings))
    while batch := list(islice(numbered, PARTS_PER_FILE)):
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, REF_SCHEMA, compression="zstd") as writer:
            for _, part in batch:
                columns = {name: [getattr(ref, name) for ref in part] for name in REF_SCHEMA.names}
                writer.write_table(pa.table(columns, schema=REF_SCHEMA), row_group_size=len(part))
        data = sink.getvalue()
        file = f"rows-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
        objects.create(f"{golden_uri}/plan/{file}", data)
        for group, (number, part) in enumerate(batch):
            size = sum(ref.size for ref in part)
            yield PlannedPart(name=name_of_part(number), rows=len(part), bytes=size, file=file, group=group)


def _load_plan(golden_uri: str) -> GoldenPlan | None:
    uri = f"{golden_uri}/plan/plan.json"
    try:
        return json_files.load(GoldenPlan, uri)
    except FileNotFoundError:
        return None
    except ValueError as error:
        why = type(error).__name__  # the error's text has many lines, and our message ends with the remedy
        raise InputError(f"{uri}: not a plan ({why}); delete the folder {golden_uri} and rerun") from None
