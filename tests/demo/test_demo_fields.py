"""The fields of the demo's images: those of the generator, of the manifest, and of the checkpoints' answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from demo import fields, fields_report, scenes
from ray_jobs.contract.field_schema import complete_schema
from ray_jobs.fields.truth import read_truth
from ray_jobs.planning.suites import load_suite
from ray_jobs.sources.open_source import open_source

NUMBER = {"one": 1, "two": 2, "three": 3}


@pytest.fixture
def rows(demo: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (demo / "fields.jsonl").read_text().splitlines()]


def test_the_committed_manifest_is_remade_byte_for_byte(tmp_path: Path, demo: Path) -> None:
    fields.main(tmp_path / "fields.jsonl")
    assert (tmp_path / "fields.jsonl").read_bytes() == (demo / "fields.jsonl").read_bytes()


def test_the_manifest_says_what_the_images_metadata_says(rows: list[dict[str, Any]], demo: Path) -> None:
    described = [json.loads(line) for line in (demo / "images" / "metadata.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == [f"images/{other['file_name']}" for other in described]
    for row, other in zip(rows, described, strict=True):
        assert list(row) == ["image", *fields.SCHEMA["required"]]
        answer = [row[name] for name in ("caption", "count", "colour", "shape")]
        assert answer == [other["caption"], NUMBER[other["count"]], other["colour"], other["shape"]]
        assert len(row["boxes"]) == row["count"]


def test_boxes_are_around_the_pixels_of_the_committed_images(rows: list[dict[str, Any]], demo: Path) -> None:
    """To the pixel: each box is filled by its shape, and no pixel of a shape lies outside the boxes."""
    for row in rows:
        with Image.open(demo / row["image"]) as image:
            channels = [channel.point(lambda value: 255 if value > 130 else 0) for channel in image.split()]
        bright = ImageChops.lighter(ImageChops.lighter(*channels[:2]), channels[2])
        for left, top, right, bottom in row["boxes"]:
            around = (left - 1, top - 1, right + 2, bottom + 2)
            box = bright.crop(around).getbbox()
            assert box is not None
            x, y, beyond_x, beyond_y = box
            drawn_box = (around[0] + x, around[1] + y, around[0] + beyond_x - 1, around[1] + beyond_y - 1)
            assert max(abs(a - b) for a, b in zip(drawn_box, (left, top, right, bottom), strict=True)) <= 1, row
            bright.paste(0, around)
        assert bright.getbbox() is None, row


def test_the_suite_asks_what_the_checkpoints_learned() -> None:
    caption = load_suite("demo-fields").caption
    assert caption.prompt == fields.PROMPT
    assert caption.schema_of_fields == complete_schema(fields.SCHEMA)
    assert caption.field_names == tuple(fields.SCHEMA["required"])  # in the order of the answer


def test_the_suites_truth_is_the_generators() -> None:
    """Read as the product does: every field except the caption, which is the reference, for all 256 images."""
    suite = load_suite("demo-fields")
    source = open_source(suite.dataset)
    rows_read = list(source.read(list(source.list_images())))
    assert [row.image_id for row in rows_read] == [f"images/scenes/scene-{i:03d}.png" for i in range(256)]
    assert suite.caption.schema_of_fields is not None
    schemas = suite.caption.schema_of_fields["properties"]
    for row, true in zip(rows_read, fields.list_held_out_fields(), strict=True):
        truths = {name: read_truth(schemas[name], cell, name) for name, cell in json.loads(row.truth or "").items()}
        assert {"caption": row.references[0], **truths} == true
        assert len(row.references) == 1


def test_confused_fields_have_another_colour_and_nothing_else() -> None:
    for scene, layout in scenes.list_held_out_layouts()[:64]:
        right = fields.derive_fields(scene, layout)
        confused = fields.confuse(right)
        assert confused["colour"] == {"pink": "red", "green": "blue"}.get(right["colour"], right["colour"])
        assert {**confused, "colour": right["colour"]} == right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"caption": "a", "count": 1, "colour": "red", "shape": "cross", "boxes": []}', True),
        ('{"caption": "a", "count": 1, "colour": "red", "shape": "cross"}', False),  # a key less
        ('{"count": 1, "caption": "a", "colour": "red", "shape": "cross", "boxes": []}', False),  # another order
        ('{"caption": "a", "count": 1, "colour": "red", "shape": "cross", "boxes": []', False),  # cut off
        ("[1]", False),
        ("two small red circles", False),
    ],
)
def test_an_answer_is_json_of_the_schemas_keys_or_nothing(text: str, expected: bool) -> None:
    assert (fields_report.parse_fields(text) is not None) == expected


@pytest.mark.parametrize(
    ("boxes", "true", "overlap"),
    [
        ([[0, 0, 10, 10]], [[0, 0, 10, 10]], 1.0),
        ([[0, 0, 10, 10]], [[5, 0, 15, 10]], 1 / 3),
        ([[0, 0, 10, 10]], [[20, 20, 30, 30]], 0.0),
        ([[10, 0, 0, 10]], [[0, 0, 10, 10]], 0.0),  # left and right exchanged
        ([[0, 0, 10, 10], [0, 0, 5, 5]], [[0, 0, 10, 10]], 0.5),  # one too many
        ([], [[0, 0, 10, 10]], 0.0),
    ],
)
def test_average_overlaps(boxes: list[list[int]], true: list[list[int]], overlap: float) -> None:
    assert fields_report.average_overlaps(boxes, true) == pytest.approx(overlap)


def test_shares_count_an_invalid_answer_as_wrong_in_every_field() -> None:
    truths = fields.list_held_out_fields()[:2]
    right = fields.write_answer(truths[0])
    assert fields_report.measure_fields([right, "nonsense"], truths) == ["0.500"] * 6
    assert fields_report.measure_fields([right, fields.write_answer({**truths[1], "colour": "no"})], truths) == [
        "1.000", "1.000", "1.000", "0.500", "1.000", "1.000",
    ]  # fmt: skip


def test_the_section_is_replaced_and_everything_else_is_kept() -> None:
    results = fields_report.replace_section("# Results\n\nfigures\n", f"{fields_report.HEADING}\n\nold")
    assert fields_report.find_section(results) == f"{fields_report.HEADING}\n\nold"
    again = fields_report.replace_section(results, f"{fields_report.HEADING}\n\nnew")
    assert again == f"# Results\n\nfigures\n\n{fields_report.HEADING}\n\nnew\n"
    assert fields_report.find_section("# Results\n") == ""
