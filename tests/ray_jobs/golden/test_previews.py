"""The pages over a golden set show hostile text as text, and list all rejects."""

import base64
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from samples import draw_picture, encode_image

from ray_jobs.contract.artifacts import Part
from ray_jobs.golden import previews
from ray_jobs.golden.build_part import SCHEMA
from ray_jobs.storage import objects, parts

HOSTILE = "<script>alert(1)</script>"


def reject(number: int, **fields: Any) -> dict[str, Any]:
    return {"image_id": f"{number:04d}.jpg", "reason": "corrupt", "detail": "broken", "thumbnail": None} | fields


def part(store: str, name: str, images: int, rejects: list[dict[str, Any]]) -> Part:
    empty = dict.fromkeys(SCHEMA.names)
    rows = [empty | {"image_id": str(number), "image": encode_image(draw_picture(number))} for number in range(images)]
    footer = {"lost": {"corrupt": len(rejects)} if rejects else {}, "rejects": rejects}
    return parts.write(store, name, pa.Table.from_pylist(rows, schema=SCHEMA), footer)


def test_rejects_are_listed_escaped_and_shown(store: str) -> None:
    thumbnail = encode_image(draw_picture(), "JPEG")
    hostile_reject = reject(1, image_id=HOSTILE, detail=HOSTILE, thumbnail=base64.b64encode(thumbnail).decode())
    parts_written = [part(store, "part-00000", 1, [reject(0), hostile_reject]), part(store, "part-00001", 1, [])]
    previews.write_rejects(store, f"/data/{HOSTILE}", parts_written, {"corrupt": 2})
    page = objects.read(f"{store}/rejects.html").decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 4  # twice the title, the image, the detail
    assert "2 images were rejected:\n2 corrupt." in page
    assert f"data:image/jpeg;base64,{base64.b64encode(thumbnail).decode()}" in page
    table = pq.read_table(io.BytesIO(objects.read(f"{store}/rejects.parquet"))).to_pylist()
    assert [row["image_id"] for row in table] == ["0000.jpg", HOSTILE]
    assert [row["thumbnail"] for row in table] == [None, thumbnail]


def test_no_rejects(store: str) -> None:
    previews.write_rejects(store, "/data", [part(store, "part-00000", 1, [])], {})
    assert "0 images were rejected." in objects.read(f"{store}/rejects.html").decode()
    assert pq.read_table(io.BytesIO(objects.read(f"{store}/rejects.parquet"))).num_rows == 0


def test_the_page_is_bounded_and_the_table_is_not(store: str) -> None:
    parts_written = [part(store, f"part-{number:05d}", 0, [reject(row) for row in range(600)]) for number in range(2)]
    previews.write_rejects(store, "/data", parts_written, {"corrupt": 1200})
    page = objects.read(f"{store}/rejects.html").decode()
    assert page.count("<td>corrupt</td>") == 1000
    assert "The first 1000 are shown" in page
    assert pq.read_table(io.BytesIO(objects.read(f"{store}/rejects.parquet"))).num_rows == 1200


def test_the_contact_sheet_shows_parts_from_beginning_to_end(store: str) -> None:
    parts_written = [part(store, f"part-{number:05d}", 3 if number != 4 else 0, []) for number in range(20)]
    previews.write_preview(store, parts_written)
    first = objects.read(f"{store}/preview.png")
    sheet = Image.open(io.BytesIO(first))
    assert sheet.size == (8 * 116 + 4, 8 * 116 + 4)
    assert sheet.getpixel((8 * 116 - 60, 60)) == (255, 255, 255)  # a part of three images fills three places
    assert sheet.getpixel((60, 60)) != (255, 255, 255)
    previews.write_preview(store, parts_written)
    assert objects.read(f"{store}/preview.png") == first


def test_one_small_part_makes_a_small_sheet(store: str) -> None:
    previews.write_preview(store, [part(store, "part-00000", 1, [])])
    assert Image.open(io.BytesIO(objects.read(f"{store}/preview.png"))).size == (8 * 116 + 4, 120)
