"""Answers read as fields, and as columns of Arrow's types."""

import json
from typing import Any

import pyarrow as pa
import pytest
from field_schemas import WHOLE

from ray_jobs.contract.field_schema import complete_schema
from ray_jobs.contract.sections.caption import Caption
from ray_jobs.fields.answers import read_answer
from ray_jobs.fields.columns import add_fields, list_columns_to_read, sum_fits, values_of
from ray_jobs.storage import parts

SCHEMA = complete_schema(WHOLE)
SAID: dict[str, Any] = {
    "caption": "a dog",
    "count": 3,
    "colour": "red",
    "share": 1,
    "indoors": False,
    "rank": 3,
    "objects": ["dog", "Ball"],
    "box": [1, 2, 3, 4],
    "boxes": [[0, 0, 9, 9], [5, 5, 5, 5]],
    "found": [{"label": "dog", "box": [1, 2, 3, 4]}],
}


def test_an_answer_that_fits() -> None:
    answer_read = read_answer(SCHEMA, json.dumps(SAID), "stop", 64)
    assert (answer_read.reason, answer_read.detail, answer_read.caption) == (None, None, "a dog")
    assert answer_read.values == SAID
    assert type(answer_read.values["share"]) is float


def test_without_a_property_of_its_name_the_caption_is_the_answer() -> None:
    schema, answer = complete_schema({"properties": {"count": {"type": "integer"}}}), '{"count": 3}'
    assert read_answer(schema, answer, "stop", 64).caption == answer


def test_a_complete_answer_at_the_limit_of_tokens_fits() -> None:
    assert read_answer(SCHEMA, json.dumps(SAID), "length", 64).reason is None


FAULTS: dict[str, tuple[str, str, str]] = {
    "empty": ("", "not-json", "the answer is not JSON: "),
    "a text": ("a dog", "not-json", "the answer is not JSON: a dog"),
    "a fence": (f"```json\n{json.dumps(SAID)}\n```", "not-json", "the answer is not JSON"),
    "a list": ("[1]", "not-json", "the answer is not a JSON object: [1]"),
    "a key twice": ('{"count": 1, "count": 2}', "not-json", "the answer has a key twice"),
    "half a surrogate": (json.dumps(SAID | {"caption": "\ud800"}), "not-json", "half a surrogate"),
    "deep": ('{"a":' * 99 + "1" + "}" * 99, "not-json", "deep"),
    "a field less": (
        json.dumps({k: v for k, v in SAID.items() if k != "count"}),
        "other-fields",
        "no property 'count'",
    ),
    "a field more": (json.dumps(SAID | {"more": 1}), "other-fields", "the answer has another property 'more'"),
}
VALUES: dict[str, tuple[str, Any, str, str]] = {
    "null": ("count", None, "wrong-type", "count is None, not a value of type integer"),
    "a text for a number": ("count", "3", "wrong-type", "count is '3', not a value of type integer"),
    "a boolean for a number": ("count", True, "wrong-type", "count is True, not a value of type integer"),
    "half a count": ("count", 2.5, "wrong-type", "count is 2.5, not a value of type integer"),
    "a number for a boolean": ("indoors", 1, "wrong-type", "indoors is 1, not a value of type boolean"),
    "too many": ("count", 10, "out-of-range", "count is 10, not from 0 to 9"),
    "too large": ("share", 1.01, "out-of-range", "share is 1.01, not from 0 to 1"),
    "not a number": ("share", float("nan"), "out-of-range", "share is nan, not from 0 to 1"),
    "not finite": ("share", float("inf"), "out-of-range", "share is inf, not from 0 to 1"),
    "no choice": ("colour", "blue", "out-of-range", "colour is 'blue', which is none of its enum"),
    "no number to choose": ("rank", 2, "out-of-range", "rank is 2, which is none of its enum"),
    "a long text": ("caption", "a" * 161, "out-of-range", "caption has 161 characters, not 0 to 160"),
    "a long list": ("objects", ["a"] * 6, "out-of-range", "objects has 6 items, not 0 to 5"),
    "an item": ("objects", ["a", 1], "wrong-type", "objects[1] is 1, not a value of type string"),
    "no list": ("objects", "dog", "wrong-type", "objects is 'dog', not an array"),
    "three edges": ("box", [1, 2, 3], "out-of-range", "box has 3 items, not 4 to 4"),
    "right of its right edge": ("box", [4, 2, 3, 4], "box-corners", "box is [4, 2, 3, 4], not x1, y1, x2, y2"),
    "below its lower edge": ("boxes", [[0, 5, 1, 4]], "box-corners", "boxes[0] is [0, 5, 1, 4], not x1"),
    "outside": ("box", [0, 0, 1001, 5], "out-of-range", "box[2] is 1001, not from 0 to 1000"),
    "an object": ("found", [{"label": "a"}], "other-fields", "found[0] has no property 'box'"),
    "no object": ("found", ["a"], "wrong-type", "found[0] is 'a', not an object"),
    "its box": ("found", [{"label": "a", "box": [9, 0, 1, 1]}], "box-corners", "found[0].box is [9, 0, 1, 1]"),
}  # fmt: skip
CASES = FAULTS | {
    case: (json.dumps(SAID | {n: value}), reason, detail) for case, (n, value, reason, detail) in VALUES.items()
}


@pytest.mark.parametrize(("answer", "reason", "detail"), CASES.values(), ids=CASES)
def test_an_answer_that_does_not_fit_is_reported_by_its_reason(answer: str, reason: str, detail: str) -> None:
    answer_read = read_answer(SCHEMA, answer, "stop", 64)
    assert (answer_read.reason, answer_read.values, answer_read.caption) == (reason, {}, answer)
    assert answer_read.detail
    assert detail in answer_read.detail
    assert len(answer_read.detail.splitlines()) == 1
    assert len(answer_read.detail) < 200


@pytest.mark.parametrize("end", [1, 20, -1])
def test_an_answer_that_was_cut_off_says_so(end: int) -> None:
    answer_read = read_answer(SCHEMA, json.dumps(SAID)[:end], "length", 64)
    assert (answer_read.reason, answer_read.values) == ("cut-off", {})
    assert str(answer_read.detail).startswith("cut off at max_tokens 64; raise it")


# --- columns ----------------------------------------------------------------------------------------------------------

SETTINGS = Caption(fields=WHOLE)


def answers(*stored_answer: tuple[str | None, str | None]) -> pa.Table:
    """Answers as an engine gives them: a text, or the reason why there is none."""
    rows = [
        {"row": n, "text": text, "finish_reason": text and "stop", "failure": failure, "detail": failure and "of old"}
        for n, (text, failure) in enumerate(stored_answer)
    ]
    return pa.Table.from_pylist(rows)


def test_fields_are_columns_of_their_types_in_a_part(tmp_path: Any) -> None:
    bad = json.dumps(SAID | {"count": 11})
    table, fits = add_fields(answers((json.dumps(SAID), None), (bad, None), (None, "engine-error")), SETTINGS)
    assert fits == {"valid": 1, "invalid": {"out-of-range": 1}}
    parts.write(str(tmp_path), "part-00000", table, {"fields": fits})
    table_read = parts.read(str(tmp_path), "part-00000", folder="parts")
    assert {name: str(table_read.schema.field(name).type) for name in SAID if name != "caption"} == {
        "count": "int64",
        "colour": "string",
        "share": "double",
        "indoors": "bool",
        "rank": "int64",
        "objects": "list<element: string>",
        "box": "list<element: int64>",
        "boxes": "list<element: list<element: int64>>",
        "found": "list<element: struct<label: string, box: list<element: int64>>>",
    }
    first, second, third = table_read.to_pylist()
    assert {name: first[name] for name in SAID if name != "caption"} == {
        k: v for k, v in SAID.items() if k != "caption"
    }
    assert (first["text"], first["answer"], first["invalid_fields"], first["detail"]) == (
        "a dog",
        json.dumps(SAID),
        None,
        None,
    )
    assert (second["text"], second["answer"], second["invalid_fields"]) == (bad, bad, "out-of-range")
    assert (second["detail"], second["count"], second["found"]) == ("count is 11, not from 0 to 9", None, None)
    assert (third["text"], third["answer"], third["invalid_fields"], third["detail"]) == (None, None, None, "of old")


def test_a_row_gives_its_fields_back() -> None:
    table, _ = add_fields(answers((json.dumps(SAID), None), ("{", None)), SETTINGS)
    first, second = (
        table.rename_columns({"text": "caption"}).select(["caption", *list_columns_to_read(SETTINGS)]).to_pylist()
    )
    assert values_of(first, SETTINGS) == SAID
    assert values_of(second, SETTINGS) is None


def test_without_fields_answers_stay_as_they_are() -> None:
    table = answers(("a dog", None))
    assert add_fields(table, Caption()) == (table, {})
    assert list_columns_to_read(Caption()) == []
    assert values_of({"caption": "a dog"}, Caption()) is None


def test_counts_of_parts_are_summed() -> None:
    counts = [{"valid": 2, "invalid": {"cut-off": 1}}, {}, {"valid": 1, "invalid": {"cut-off": 2, "box-corners": 1}}]
    assert sum_fits(counts) == {"valid": 3, "invalid": {"box-corners": 1, "cut-off": 3}}
