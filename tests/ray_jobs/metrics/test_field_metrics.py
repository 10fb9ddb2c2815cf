"""The metrics of fields, each compared with a second way to compute it."""

import itertools
import random
from typing import Any

import numpy as np
import pytest
from samples import make_spec, make_suite

from ray_jobs.contract.metric_names import list_field_metrics
from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics import CaptionContext, Metric
from ray_jobs.metrics.builtin import box_iou, field_match, object_lists
from ray_jobs.metrics.field_metrics import build_field_metrics
from ray_jobs.metrics.registry import build_metrics

BOX = {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}
FOUND = {"type": "object", "properties": {"label": {"type": "string"}, "box": BOX}}
FIELDS: dict[str, Any] = {
    "properties": {
        "count": {"type": "integer"},
        "colour": {"type": "string"},
        "objects": {"type": "array", "items": {"type": "string"}},
        "flags": {"type": "array", "items": {"type": "boolean"}},
        "box": BOX,
        "boxes": {"type": "array", "items": BOX},
        "found": {"type": "array", "items": FOUND},
        "untold": {"type": "string"},
    }
}
TRUTH = {name: f"column of {name}" for name in FIELDS["properties"] if name != "untold"}


def make_context(fields: dict[str, Any] | None, **truth: Any) -> CaptionContext:
    return CaptionContext("a", 1, "stop", fields=fields, truth=truth)


def test_each_field_with_a_truth_has_the_metrics_of_its_type() -> None:
    spec = make_spec(caption__fields=FIELDS, dataset__truth=TRUTH)
    new = {name: metric for name, metric in build_metrics(spec).items() if name not in build_metrics(make_spec())}
    assert list(new) == [
        "fields_valid", "field_count", "field_colour", "field_objects_recall", "field_objects_precision", "field_flags",
        "field_box_iou", "field_boxes_iou", "field_found_recall", "field_found_precision", "field_found_iou",
    ]  # fmt: skip
    assert {metric.direction for metric in new.values()} == {1}
    assert {metric.range for metric in new.values()} == {(0, 1)}
    assert [metric.of for metric in new.values()][:3] == ["", "count", "colour"]


def test_a_suite_without_truth_has_the_form_of_its_answers_measured() -> None:
    new = [name for name in build_metrics(make_spec(caption__fields=FIELDS)) if name not in build_metrics(make_spec())]
    assert new == ["fields_valid"]


@pytest.mark.parametrize("metric", ["field_count", "fields_valid", "field_found_iou"])
def test_they_can_gate(metric: str) -> None:
    make_suite(caption__fields=FIELDS, dataset__truth=TRUTH, gate__metrics={metric: {"margin": 0.1}})


@pytest.mark.parametrize("metric", ["field_untold", "field_count_iou", "fields"])
def test_what_is_not_measured_cannot_gate(metric: str) -> None:
    with pytest.raises(ValueError, match="unknown metric"):
        make_suite(caption__fields=FIELDS, dataset__truth=TRUTH, gate__metrics={metric: {"margin": 0.1}})


def test_a_suites_own_metric_cannot_have_the_name_of_one_of_them() -> None:
    text = "name: s\ndataset: {source: /d, truth: {count: n}}\nmetrics: {own: [field_count.py]}\n"
    with pytest.raises(InputError, match="'field_count' is there already; rename metrics"):
        parse_suite(text + "caption: {fields: {properties: {count: {type: integer}}}}", "s")


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        (3, 3, 1),
        (3, 4, 0),
        ("Dark  blue ", "dark blue", 1),
        ("blue", "dark blue", 0),
        (True, True, 1),
        (False, True, 0),
        ([True, False], [True, False], 1),
        ([True, False], [False, True], 0),
        (0.5, 0.5, 1),
    ],
)
def test_a_field_is_right_or_wrong(answer: Any, truth: Any, expected: float) -> None:
    assert field_match.measure("it", make_context({"it": answer}, it=truth)) == expected


MEASURES = [field_match.measure, object_lists.recall, object_lists.precision, box_iou.measure]


@pytest.mark.parametrize(
    "measure", MEASURES, ids=lambda function: f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
)
def test_an_answer_that_does_not_fit_is_wrong_and_an_image_without_a_truth_has_no_value(measure: Any) -> None:
    assert measure("it", make_context(None, it=[])) == 0
    assert measure("it", make_context({"it": []})) is None
    assert measure("it", make_context(None)) is None


@pytest.mark.parametrize(
    ("answer", "truth", "recall", "precision"),
    [
        (["Dog", "cat "], ["cat", "dog"], 1, 1),
        (["dog", "ball"], ["dog", "cat", "tree"], 1 / 3, 1 / 2),
        (["dog", "dog"], ["dog"], 1, 1 / 2),
        (["dog"], ["dog", "dog"], 1 / 2, 1),
        ([], ["dog"], 0, 0),
        (["dog"], [], 1, 0),
        ([], [], 1, 1),
        ([1, 2, 2], [2, 3], 1 / 2, 1 / 3),
        ([{"label": "Dog", "box": [0, 0, 1, 1]}], [{"label": "dog", "box": [5, 5, 9, 9]}], 1, 1),
    ],
)
def test_lists_of_objects(answer: list[Any], truth: list[Any], recall: float, precision: float) -> None:
    caption = make_context({"it": answer}, it=truth)
    assert object_lists.recall("it", caption) == pytest.approx(recall)
    assert object_lists.precision("it", caption) == pytest.approx(precision)


def by_crossing_out(answer: list[str], truth: list[str]) -> int:
    """The number of right items in the answer: each true object is crossed out once."""
    unmatched, right = list(truth), 0
    for item in answer:
        if item in unmatched:
            unmatched.remove(item)
            right += 1
    return right


@pytest.mark.parametrize("seed", range(50))
def test_lists_of_objects_by_crossing_out(seed: int) -> None:
    rng = random.Random(seed)
    answer, truth = ([rng.choice("abcd") for _ in range(rng.randrange(1, 8))] for _ in range(2))
    caption, right = make_context({"it": answer}, it=truth), by_crossing_out(answer, truth)
    assert object_lists.recall("it", caption) == pytest.approx(right / len(truth))
    assert object_lists.precision("it", caption) == pytest.approx(right / len(answer))


# --- boxes ------------------------------------------------------------------------------------------------------------


def by_pixels(first: list[int], second: list[int]) -> float:
    """Intersection over union by counting unit squares."""
    mask, other_mask = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    mask[first[1] : first[3], first[0] : first[2]] = True
    other_mask[second[1] : second[3], second[0] : second[2]] = True
    return (
        float((mask & other_mask).sum() / (mask | other_mask).sum())
        if (mask | other_mask).any()
        else float(first == second)
    )


def draw_box(rng: random.Random) -> list[int]:
    xs, ys = (sorted(rng.randrange(20) for _ in range(2)) for _ in range(2))
    return [xs[0], ys[0], xs[1], ys[1]]


@pytest.mark.parametrize("seed", range(100))
def test_intersection_over_union_by_pixels(seed: int) -> None:
    rng = random.Random(seed)
    first, second = draw_box(rng), draw_box(rng)
    assert box_iou.intersection_over_union(first, second) == pytest.approx(by_pixels(first, second))
    assert box_iou.intersection_over_union(first, first) == 1


def by_all_matchings(said_boxes: list[list[int]], true_boxes: list[list[int]]) -> float:
    """The mean over pairs and leftovers of the best of all matchings of overlapping boxes."""
    longer, shorter = sorted((said_boxes, true_boxes), key=len, reverse=True)
    best = max(
        (
            [by_pixels(*pair) for pair in zip(order, shorter, strict=True)]
            for order in itertools.permutations(longer, len(shorter))
        ),
        key=sum,
    )
    pairs = [overlap for overlap in best if overlap > 0]
    return sum(pairs) / (len(longer) + len(shorter) - len(pairs))


@pytest.mark.parametrize("seed", range(50))
def test_boxes_by_trying_all_matchings(seed: int) -> None:
    rng = random.Random(seed)
    answer, truth = ([draw_box(rng) for _ in range(rng.randrange(1, 5))] for _ in range(2))
    value = box_iou.measure("it", make_context({"it": answer}, it=truth))
    assert value == pytest.approx(by_all_matchings(answer, truth))


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1),
        ([0, 0, 10, 10], [0, 0, 10, 5], 0.5),
        ([0, 0, 1, 1], [2, 2, 3, 3], 0),
        ([0.0, 0, 10, 10], [0, 0, 10, 2.5], 0.25),
        ([], [], 1),
        ([], [[0, 0, 1, 1]], 0),
        ([[0, 0, 1, 1]], [], 0),
        ([[0, 0, 2, 2], [5, 5, 9, 9]], [[0, 0, 2, 2]], 1 / 2),
        ([[0, 0, 2, 2]], [[5, 5, 9, 9], [0, 0, 2, 1]], 0.5 / 2),
        ([{"label": "Dog", "box": [0, 0, 2, 2]}], [{"label": "dog", "box": [0, 0, 2, 2]}], 1),
        ([{"label": "cat", "box": [0, 0, 2, 2]}], [{"label": "dog", "box": [0, 0, 2, 2]}], 0),
    ],
)
def test_boxes(answer: list[Any], truth: list[Any], expected: float) -> None:
    assert box_iou.measure("it", make_context({"it": answer}, it=truth)) == pytest.approx(expected)


def test_a_matching_is_of_the_largest_sum_not_of_the_first_come() -> None:
    """A greedy matching takes the best of the first box, and leaves nothing for the second."""
    answer, truth = [[0, 0, 10, 10], [0, 0, 10, 6]], [[0, 0, 10, 7], [0, 4, 10, 13]]
    assert box_iou.measure("it", make_context({"it": answer}, it=truth)) == pytest.approx((6 / 13 + 6 / 7) / 2)


def test_what_a_metric_of_fields_needs() -> None:
    of_count = Metric("x", "u", 1, (0, 1), needs="truth", of="count")
    assert (of_count.has_inputs(make_context({}, count=1)), of_count.has_inputs(make_context({}, colour=1))) == (
        True,
        False,
    )
    of_any = Metric("x", "u", 1, (0, 1), needs="truth")
    assert (of_any.has_inputs(make_context(None, count=1)), of_any.has_inputs(make_context({}))) == (True, False)
    of_answer = Metric("x", "u", 1, (0, 1), needs="fields")
    assert (of_answer.has_inputs(make_context({})), of_answer.has_inputs(make_context(None))) == (True, False)


def test_declared_names_are_those_of_the_schema() -> None:
    schema = make_suite(caption__fields=FIELDS).caption.schema_of_fields
    assert schema
    assert list(build_field_metrics(schema, ["count"])) == ["fields_valid", "field_count"]
    for name in schema["properties"]:
        assert list_field_metrics(schema, [name]) == list(build_field_metrics(schema, [name]))
