"""Rows of one image in several parts become one image with all references, also after a kill between any two steps."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from samples import draw_picture
from samples import encode_image as encoded_picture

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.build_part import describe_part, encode_part, prepare_row, write_part
from ray_jobs.golden.duplicates import open_duplicates
from ray_jobs.golden.part_tasks import drop_duplicates, join_references
from ray_jobs.sources.source import SourceImage
from ray_jobs.storage import manifests, objects, parts

SETTINGS = Preprocess()
PARTS = {  # picture and caption by row
    "part-00000": [(0, "A dog."), (1, "A cat."), (0, "One dog.")],
    "part-00001": [(1, "A cat."), (2, "A bird."), (0, "A dog runs.")],
}


def write_parts(golden_uri: str) -> None:
    for name, rows in PARTS.items():
        images = [
            SourceImage(f"{name}#{number}", encoded_picture(draw_picture(which)), references=[caption])
            for number, (which, caption) in enumerate(rows)
        ]
        clock: defaultdict[str, float] = defaultdict(float)
        write_part(
            {"name": name}, golden_uri, encode_part(((row, prepare_row(row, SETTINGS)) for row in images), clock), clock
        )


def reject(golden_uri: str, killed_after: int | None = None) -> None:
    """The steps of `reject_duplicates`, up to so many of them."""
    steps: list[Any] = []
    with open_duplicates() as duplicates:
        for name in PARTS:
            row = describe_part(name, objects.read(manifests.uri_of_part(golden_uri, name)), "made")
            duplicates.add(name, row["image_ids"], row["blake3"], row["references"])
        duplicates.join()
        steps = [lambda task=task: join_references(task, golden_uri) for task in duplicates.join_tasks()]
        steps += [lambda task=task: drop_duplicates(task, golden_uri, SETTINGS) for task in duplicates.drop_tasks()]
        for step in steps[:killed_after]:
            step()


def content(golden_uri: str) -> dict[str, bytes]:
    return {name: objects.read(manifests.uri_of_part(golden_uri, name)) for name in PARTS}


def test_the_first_row_has_all_references_and_the_others_say_so(tmp_path: Path) -> None:
    write_parts(str(tmp_path))
    reject(str(tmp_path))
    rows = {row["image_id"]: row["references"] for data in content(str(tmp_path)).values()
            for row in parts.decode(data).to_pylist()}  # fmt: skip
    assert rows == {
        "part-00000#0": ["A dog.", "One dog.", "A dog runs."],
        "part-00000#1": ["A cat."],
        "part-00001#1": ["A bird."],
    }
    rejects = [reject for data in content(str(tmp_path)).values() for reject in parts.decode_footer(data)["rejects"]]
    assert [(row["image_id"], row["reason"], row["detail"]) for row in rejects] == [
        ("part-00000#2", "joined", "the same bytes as part-00000#0, which has its references too"),
        ("part-00001#0", "duplicate", "the same bytes as part-00000#1"),
        ("part-00001#2", "joined", "the same bytes as part-00000#0, which has its references too"),
    ]
    assert [parts.decode_footer(data)["lost"] for data in content(str(tmp_path)).values()] == [
        {"joined": 1}, {"duplicate": 1, "joined": 1},
    ]  # fmt: skip


@pytest.mark.parametrize("killed_after", [0, 1, 2, 3])
def test_a_kill_between_two_steps_changes_no_byte(tmp_path: Path, killed_after: int) -> None:
    for name, kills in (("whole", []), ("killed", [killed_after])):
        write_parts(str(tmp_path / name))
        for steps in [*kills, None]:
            reject(str(tmp_path / name), steps)
    assert content(str(tmp_path / "killed")) == content(str(tmp_path / "whole"))
