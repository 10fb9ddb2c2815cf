"""The work of Ray tasks on one part of the golden set: make it, join references, drop duplicates.

`build_set` starts the tasks. The decoder's process of the Ray worker reads and decodes the images of a part.
"""

import json
from collections import defaultdict
from functools import partial
from typing import Any

import pyarrow as pa

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.build_part import (
    build_reject,
    count_reasons,
    decode_part,
    describe_part,
    encode_part,
    prepare_row,
    write_part,
)
from ray_jobs.golden.decoder_process import ProcessDied, get_decoder
from ray_jobs.golden.single_images import prepare_alone, read_part_seconds
from ray_jobs.images.prepare import thumbnail
from ray_jobs.sources.source import Source
from ray_jobs.storage import manifests, objects, parts


def make_part(task: dict[str, Any], source: Source, golden_uri: str, settings: Preprocess) -> dict[str, Any]:
    """Make the planned part unless it exists. Returns its row as `describe_part` does.

    The decoder's process makes the whole part. When that process dies, the part is made again, image by image. The Ray
    worker itself reads no source, because Ray registers Arrow types there that run code. Raises InputError on a node
    that does not share the root.
    """
    manifests.require_on_node(golden_uri)  # the folder has the plan
    uri = manifests.uri_of_part(golden_uri, task["name"])
    if objects.exists(uri):
        return describe_part(task["name"], objects.read(uri), "found")
    decoder = get_decoder(settings)
    try:
        return decoder.run(
            decode_part, task, source, golden_uri, partial(prepare_row, settings=settings), seconds=read_part_seconds()
        )
    except (ProcessDied, MemoryError):
        clock: defaultdict[str, float] = defaultdict(float)
        data = encode_part(prepare_alone(decoder, source, golden_uri, task, clock), clock)
        return write_part(task, golden_uri, data, clock) | {"isolated": True}


def join_references(task: dict[str, Any], golden_uri: str) -> dict[str, Any]:
    """Replace the references of the rows that the task's `references` (image id -> texts) names, in place.

    A second run changes nothing, and every job writes the same bytes. Returns the part's row as `describe_part` does.
    """
    uri = manifests.uri_of_part(golden_uri, task["name"])
    data = objects.read(uri)
    references_by_id: dict[str, list[str]] = json.loads(task["references"])
    table, footer = parts.decode(data), parts.decode_footer(data)
    current_references = zip(table["image_id"].to_pylist(), table["references"].to_pylist(), strict=True)
    joined = [references_by_id.get(image_id, references) for image_id, references in current_references]
    if joined != table["references"].to_pylist():
        column = table.schema.get_field_index("references")
        table = table.set_column(column, table.schema.field(column), pa.array(joined, pa.list_(pa.string())))
        data = parts.encode(table, footer)
        objects.write(uri, data)
    return describe_part(task["name"], data, "made")


def drop_duplicates(task: dict[str, Any], golden_uri: str, settings: Preprocess) -> dict[str, Any]:
    """Reject the rows that the task's `repeats` (image id -> id of the earlier image) names, in place.

    A second run changes nothing, and every job writes the same bytes. Returns the part's row as `describe_part` does.
    """
    uri = manifests.uri_of_part(golden_uri, task["name"])
    data = objects.read(uri)
    repeats: dict[str, str] = json.loads(task["repeats"])
    joined = set(json.loads(task["joined"]))
    table, footer = parts.decode(data), parts.decode_footer(data)
    keep = [image_id not in repeats for image_id in table["image_id"].to_pylist()]
    if not all(keep):
        for row in table.filter([not is_kept for is_kept in keep]).select(["image_id", "image"]).to_pylist():
            detail = f"the same bytes as {repeats[row['image_id']]}"
            reason = "duplicate"
            if row["image_id"] in joined:
                reason, detail = "joined", f"{detail}, which has its references too"
            footer["rejects"].append(build_reject(row["image_id"], reason, detail, thumbnail(row["image"], settings)))
        footer["lost"] = count_reasons(footer["rejects"])
        data = parts.encode(table.filter(keep), footer)
        objects.write(uri, data)
    return describe_part(task["name"], data, "made")
