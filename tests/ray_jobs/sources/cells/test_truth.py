"""The true values of fields as every source reads them, and as a golden set stores them."""

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_formats import CAPTIONS, FORMATS, LABELS, list_refs, make_settings, read_refs, write_images, write_jsonl
from samples import draw_picture, encode_image

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.build_part import encode_part
from ray_jobs.golden.sample import open_sample
from ray_jobs.images.prepare import prepare
from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.cells.texts import CellFault
from ray_jobs.sources.cells.truth import read_truth
from ray_jobs.sources.cells.values import read_texts
from ray_jobs.storage.parts import decode as part_table

TRUTH = {"words": "caption", "parity": "kind"}


@pytest.mark.parametrize("offer", FORMATS, ids=lambda offer: offer.__name__)
def test_every_source_reads_the_truth_of_each_image(tmp_path: Path, offer: Any) -> None:
    dataset = make_settings(offer(tmp_path / "data"), truth=TRUTH)
    expected = [{"words": CAPTIONS[n], "parity": LABELS[n]} for n in range(len(CAPTIONS))]
    assert [json.loads(row.truth or "") for row in read_refs(dataset)] == expected


@pytest.mark.parametrize("offer", FORMATS, ids=lambda offer: offer.__name__)
def test_a_missing_column_is_reported_before_anything_is_read(tmp_path: Path, offer: Any) -> None:
    settings = offer(tmp_path / "data")
    with pytest.raises(InputError, match=r"no column 'knd' for the truth of 'parity'; did you mean 'kind'\?"):
        list_refs(make_settings(settings, truth={"parity": "knd"}))
    assert {row.truth for row in read_refs(make_settings(settings))} == {None}


def test_a_folder_without_metadata_has_no_truth(tmp_path: Path) -> None:
    write_images(tmp_path / "plain")
    with pytest.raises(InputError, match=r"truth 'n' needs a metadata\.jsonl or metadata\.csv"):
        list_refs(make_settings({"source": tmp_path / "plain"}, truth={"count": "n"}))


def test_the_sample_and_the_golden_part_carry_it(tmp_path: Path) -> None:
    write_jsonl(write_images(tmp_path / "few") / "metadata.jsonl", [{"file_name": "001.png", "n": 3}])
    dataset = make_settings({"source": tmp_path / "few"}, truth={"count": "n"})
    with open_sample(dataset) as sample:
        sample.draw(list_refs(dataset))
        refs_drawn = list(sample)
    assert [ref.truth for ref in refs_drawn[:3]] == ["{}", '{"count": 3}', "{}"]
    rows = read_refs(dataset, refs_drawn[:2])
    outcomes = [(row, prepare(encode_image(draw_picture(1)), Preprocess())) for row in rows]
    part = part_table(encode_part(outcomes, defaultdict(float)))
    assert part["truth"].to_pylist() == ["{}", '{"count": 3}']


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (3, 3),
        (3.0, 3.0),
        (True, True),
        ("3", "3"),
        (b"cat", "cat"),
        ("\ufeffcat", "cat"),
        ("['a', \"b\"]", ["a", "b"]),
        ("[1, 2, 3, 4]", [1, 2, 3, 4]),
        ('{"label": "cat", "box": [0, 1, 2, 3]}', {"label": "cat", "box": [0, 1, 2, 3]}),
        ([{"label": "cat", "box": (0, 1, 2, 3)}], [{"label": "cat", "box": [0, 1, 2, 3]}]),
        (Decimal("2.50"), 2.5),
        (Decimal(3), 3),
        ([], []),
    ],
    ids=repr,
)
def test_cells(cell: Any, expected: Any) -> None:
    truth_text = read_truth({"c": cell}, {"it": "c"}, {})
    assert json.loads(truth_text or "") == {"it": expected}


@pytest.mark.parametrize("cell", [None, float("nan"), "", " ", "nan", b"", "<NA>"], ids=repr)
def test_a_cell_that_is_missing_is_no_truth(cell: Any) -> None:
    assert read_truth({"c": cell}, {"it": "c"}, {}) == "{}"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (float("inf"), "a number"),
        (object(), "a object"),
        ([[[[[1]]]]], "a list of 1"),
        (b"\xff\xfe", "no UTF-8 text"),
        ("x" * 70_000, "of 70010 characters, more than 65536"),
        (Decimal("nan"), None),
    ],
    ids=["infinite", "an object", "deep", "bytes", "long", "no number"],
)
def test_a_cell_that_no_field_can_equal_makes_a_reject_of_its_row(cell: Any, message: str | None) -> None:
    texts = read_texts({"c": cell}, None, None, {"it": "c"})
    if message is None:
        assert (texts.fault, texts.truth) == ("", "{}")
        return
    assert texts.fault.startswith("truth")
    assert message in texts.fault
    with pytest.raises(CellFault):
        read_truth({"c": cell}, {"it": "c"}, {})


def test_numbers_of_classes_become_their_names_wherever_they_stand(tmp_path: Path) -> None:
    kinds = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features({
        "image": datasets.Image(),
        "one": kinds,
        "many": datasets.Sequence(kinds),
        "found": datasets.Sequence({"label": kinds, "box": datasets.Sequence(datasets.Value("int32"))}),
        "listed": [{"label": kinds, "box": datasets.Sequence(datasets.Value("int32"))}],
    })  # fmt: skip
    box = [0, 1, 2, 3]
    cells = {
        "image": [{"bytes": encode_image(draw_picture(0)), "path": None}],
        "one": [1],
        "many": [[0, 1, -1]],
        "found": [{"label": [1], "box": [box]}],
        "listed": [[{"label": 0, "box": box}]],
    }
    datasets.Dataset.from_dict(cells, features=features).save_to_disk(tmp_path / "saved")
    datasets.Dataset.from_dict(cells, features=features).to_parquet(tmp_path / "saved.parquet")
    for source in ("saved", "saved.parquet"):
        dataset = make_settings({"source": tmp_path / source}, truth={n: n for n in ("one", "many", "found", "listed")})
        (row,) = read_refs(dataset)
        assert json.loads(row.truth or "") == {
            "one": "dog",
            "many": ["cat", "dog", None],
            "found": {"label": ["dog"], "box": [box]},
            "listed": [{"label": "cat", "box": box}],
        }


def test_a_column_of_another_type_is_reported_by_its_name(tmp_path: Path) -> None:
    when = pa.array([0], pa.timestamp("s"))
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": pa.array([encode_image(draw_picture(0))]), "when": when}), path)
    (row,) = read_refs(make_settings({"source": path}, truth={"it": "when"}))
    assert row.detail == "truth 'when': a datetime; write a text, a number, true or false, or a list of these"


def test_a_coco_file_has_its_objects_with_boxes_in_thousandths(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_image(draw_picture(0)))
    (tmp_path / "b.png").write_bytes(encode_image(draw_picture(1)))
    annotations = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 200, "height": 400},
            {"id": 2, "file_name": "b.png", "width": 64, "height": 48},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"image_id": 1, "category_id": 18, "bbox": [20, 40, 100, 200]},
            {"image_id": 1, "category_id": 18, "bbox": [150, 0, 60.5, 400]},
            {"image_id": 1, "category_id": 1, "bbox": [0, 0, 200, 400], "iscrowd": 1},
            {"image_id": 1, "category_id": 1, "bbox": "none"},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(annotations))
    rows = read_refs(make_settings({"source": tmp_path / "instances.json"}, truth={"found": "objects"}))
    assert [json.loads(row.truth or "") for row in rows] == [
        {"found": [{"label": "dog", "box": [100, 100, 600, 600]}, {"label": "dog", "box": [750, 0, 1000, 1000]}]},
        {"found": []},
    ]
