"""Fields as columns of the parts of captions, each of the Arrow type that its schema gives."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ray_jobs.contract.field_schema import CAPTION, Schema
from ray_jobs.contract.suite import Caption
from ray_jobs.fields.answers import count_fits, read_answer

ANSWER, INVALID = "answer", "invalid_fields"  # what the model wrote, and why it does not fit; None where it does

# The columns of a part of captions that are no field.
NO_FIELDS = frozenset((
    "image_id", "caption", "finish_reason", "prompt_tokens", "tokens", "arrived", "finished", "failure", "detail",
    ANSWER, INVALID,
))  # fmt: skip


def arrow_type(schema: Schema) -> pa.DataType:
    """The type of a column of values that fit a complete schema."""
    kind = schema["type"]
    if kind == "array":
        return pa.list_(arrow_type(schema["items"]))
    if kind == "object":
        return pa.struct({name: arrow_type(inside) for name, inside in schema["properties"].items()})
    return {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}[kind]


def column_types(settings: Caption) -> dict[str, pa.DataType]:
    """The columns that a part of captions has beside those of a suite without fields, none without."""
    schema = settings.schema_of_fields
    if schema is None:
        return {}
    types = {name: arrow_type(inside) for name, inside in schema["properties"].items() if name != CAPTION}
    return types | {ANSWER: pa.string(), INVALID: pa.string()}


def columns_to_read(settings: Caption) -> list[str]:
    """The columns, beside that of the caption, by which `values_of` knows a row's fields; none without fields."""
    if settings.schema_of_fields is None:
        return []
    return [INVALID, *(name for name in settings.field_names if name != CAPTION)]


def add_fields(answers: pa.Table, settings: Caption) -> tuple[pa.Table, dict[str, Any]]:
    """The answers with their fields in columns, and how many of them fit. Without fields they stay as they are.

    The caption of an answer is its property `caption`, where the schema has one, else the answer. An answer that does
    not fit keeps its text; it has no field, its reason in `invalid_fields` and more about it in `detail`.
    """
    schema = settings.schema_of_fields
    if schema is None:
        return answers, {}
    rows = answers.select(["text", "finish_reason", "failure", "detail"]).to_pylist()
    parsed_answers = [
        None if row["failure"] else read_answer(schema, row["text"], row["finish_reason"], settings.max_tokens)
        for row in rows
    ]
    columns: dict[str, Any] = {name: answers[name] for name in answers.column_names}
    columns["text"] = pa.array([parsed.caption if parsed else None for parsed in parsed_answers], pa.string())
    details = [
        (parsed.detail if parsed else None) or row["detail"] for parsed, row in zip(parsed_answers, rows, strict=True)
    ]
    columns["detail"] = pa.array(details, pa.string())
    for name, kind in column_types(settings).items():
        columns[name] = pa.array([parsed.values.get(name) if parsed else None for parsed in parsed_answers], kind)
    columns[ANSWER] = answers["text"]
    columns[INVALID] = pa.array([parsed.reason if parsed else None for parsed in parsed_answers], pa.string())
    return pa.table(columns), count_fits([parsed for parsed in parsed_answers if parsed])


def values_of(row: dict[str, Any], settings: Caption) -> dict[str, Any] | None:
    """The fields in a row of a part of captions, None where the answer does not fit and without fields."""
    if settings.schema_of_fields is None or row[INVALID] is not None:
        return None
    return {name: row[name] for name in settings.field_names}


def sum_fits(counts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The counts of several parts as one."""
    valid, invalid = 0, Counter[str]()
    for part_counts in counts:
        valid += part_counts.get("valid", 0)
        invalid.update(part_counts.get("invalid", {}))
    return {"valid": valid, "invalid": dict(sorted(invalid.items()))}
