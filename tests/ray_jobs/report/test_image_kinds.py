"""Groups of images by what changed: exact counts, bounded lists, the largest group first."""

import numpy as np

from ray_jobs.report.image_kinds import MAX_LISTED, SEVERAL, ImageKinds, RankedImage


def add_part(kinds: ImageKinds, part: str, changes: list[list[int]], values: list[float]) -> None:
    kinds.add(lambda column: RankedImage(values[column], 0.0, f"{part}-{column}", part), np.array(changes))


def test_kinds_of_two_parts_are_one_group_ordered_by_change() -> None:
    kinds = ImageKinds(-1, ["a", "b"])
    add_part(kinds, "x", [[-1, -1, 0], [0, -1, 1]], [-5.0, -4.0, -1.0])
    add_part(kinds, "y", [[-1], [0]], [-9.0])
    assert kinds.counts == {("a",): 2, ("a", "b"): 1, (): 1}
    assert kinds.criterion_counts == {"a": 3, "b": 1}
    assert [image.image_id for image in kinds.images["a",]] == ["y-0", "x-0"]
    assert kinds.list_kinds() == [("a",), ("a", "b"), ()]


def test_three_criteria_are_one_kind_whichever_they_are() -> None:
    kinds = ImageKinds(1, list("abcd"))
    add_part(kinds, "x", [[1, 1], [1, 0], [1, 1], [0, 1]], [1.0, 2.0])
    assert kinds.counts == {SEVERAL: 2}
    assert [image.value for image in kinds.images[SEVERAL]] == [2.0, 1.0]


def test_a_kind_counts_all_images_and_keeps_the_most_changed() -> None:
    kinds = ImageKinds(-1, ["a"])
    for part in range(5):
        add_part(kinds, f"{part}", [[-1] * 40], [-float(part)] * 40)
    assert kinds.counts == {("a",): 200}
    assert len(kinds.images["a",]) == MAX_LISTED
    assert {image.value for image in kinds.images["a",]} == {-4.0, -3.0}


def test_without_criteria_all_images_are_one_kind_without_a_name() -> None:
    kinds = ImageKinds(-1, [])
    kinds.add(lambda column: RankedImage(-1.0, 0.0, str(column), "x"), np.zeros((0, 3)))
    assert kinds.counts == {(): 3}
