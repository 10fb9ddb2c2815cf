"""Write files for people: a contact sheet of the golden set, and its rejects as a page and as a table.

The driver of `preprocess` calls this.
"""

import base64
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from ray_jobs.contract.artifacts import Part
from ray_jobs.inputs.display_text import sanitise
from ray_jobs.storage import manifests, objects, parts

REJECTS = pa.schema({"image_id": pa.string(), "reason": pa.string(), "detail": pa.string(), "thumbnail": pa.binary()})
SHEET_PARTS, SHEET_ROWS, TILE, GAP = 8, 8, 112, 4
PAGE_ROWS = 1000
TEXT_CHARACTERS = 600

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)


def write_preview(golden_uri: str, set_parts: Sequence[Part]) -> None:
    """Write `preview.png`: at most 8 rows, each with the first 8 images of a part. The parts are evenly spaced."""
    full = [part for part in set_parts if part.rows]
    step = max(len(full) / SHEET_PARTS, 1)
    chosen = [full[int(number * step)] for number in range(min(SHEET_PARTS, len(full)))]
    side = TILE + GAP
    sheet = Image.new("RGB", (SHEET_ROWS * side + GAP, len(chosen) * side + GAP), "white")
    for line, part in enumerate(chosen):
        images = parts.read(golden_uri, part.name, ["image"]).slice(0, SHEET_ROWS)["image"].to_pylist()
        for column, image in enumerate(images):
            tile = ImageOps.pad(Image.open(io.BytesIO(image)).convert("RGB"), (TILE, TILE), color="white")
            sheet.paste(tile, (GAP + column * side, GAP + line * side))
    sink = io.BytesIO()
    sheet.save(sink, "PNG")
    objects.write(f"{golden_uri}/preview.png", sink.getvalue())


def write_rejects(golden_uri: str, title: str, set_parts: Sequence[Part], lost: dict[str, int]) -> None:
    """Write `rejects.parquet` with all rejects, and `rejects.html` with the first thousand and their thumbnails."""
    shown: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="assay-rejects-") as folder:
        file = Path(folder, "rejects.parquet")
        with pq.ParquetWriter(file, REJECTS, compression="zstd") as writer:
            for rejects in _read_rejects(golden_uri, set_parts):
                shown += rejects[: PAGE_ROWS - len(shown)]
                binary = [
                    reject | {"thumbnail": base64.b64decode(reject["thumbnail"]) if reject["thumbnail"] else None}
                    for reject in rejects
                ]
                writer.write_table(pa.Table.from_pylist(binary, schema=REJECTS))
        objects.upload(file, f"{golden_uri}/rejects.parquet")
    TEMPLATES.filters["plain"] = lambda text: sanitise(" ".join(str(text).split()), TEXT_CHARACTERS).text
    page = TEMPLATES.get_template("rejects.html").render(
        title=title, rejects=shown, lost=lost, total=sum(lost.values())
    )
    objects.write(f"{golden_uri}/rejects.html", page.encode())


def _read_rejects(golden_uri: str, set_parts: Sequence[Part]) -> Iterator[list[dict[str, Any]]]:
    for part in set_parts:
        if part.lost:
            yield parts.read_footer(manifests.uri_of_part(golden_uri, part.name))["rejects"]
