"""Store fields as columns of the parts of captions, each with the Arrow type that its schema gives.

The job `caption` writes the columns. The audit, the scoring and the report read them.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ray_jobs.contract.field_schema import CAPTION, Schema
from ray_jobs.contract.sections.caption import Caption
from ray_jobs.fields.answers import count_fits, read_answer

ANSWER, INVALID = "answer", "invalid_fields"  # the model's text, and the reason if it does not fit, else None

# The columns of a part of captions that are not fields.
NO_FIELDS = frozenset((
    "image_id", "caption", "finish_reason", "prompt_tokens", "tokens", "arrived", "finished", "failure", "detail",
    ANSWER, INVALID,
))  # fmt: skip


def to_arrow_type(schema: Schema) -> pa.DataType:
    """Return the Arrow type of a column of values that fit a complete schema."""
    kind = schema["type"]
    if kind == "array":
        return pa.list_(to_arrow_type(schema["items"]))
    if kind == "object":
        return pa.struct({name: to_arrow_type(field_schema) for name, field_schema in schema["properties"].items()})
    return {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}[kind]


def list_column_types(settings: Caption) -> dict[str, pa.DataType]:
    """Return the extra columns of a part of captions and their types; none if the suite has no fields."""
    schema = settings.schema_of_fields
    if schema is None:
        return {}
    types = {
        name: to_arrow_type(field_schema) for name, field_schema in schema["properties"].items() if name != CAPTION
    }
    return types | {ANSWER: pa.string(), INVALID: pa.string()}


def list_columns_to_read(settings: Caption) -> list[str]:
    """Return the columns beside the caption that `values_of` needs; none if the suite has no fields."""
    if settings.schema_of_fields is None:
        return []
    return [INVALID, *(name for name in settings.field_names if name != CAPTION)]


def add_fields(answers: pa.Table, settings: Caption) -> tuple[pa.Table, dict[str, Any]]:
    """Return the answers with their fields as columns, and the counts of `count_fits`.

    If the suite has no fields, the answers stay the same. The caption of an answer is its property `caption` if the
    schema has one, else the answer. An answer that does not fit keeps its text and has no fields. Its reason is in
    `invalid_fields`, and more about it in `detail`.
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
    for name, kind in list_column_types(settings).items():
        columns[name] = pa.array([parsed.values.get(name) if parsed else None for parsed in parsed_answers], kind)
    columns[ANSWER] = answers["text"]
    columns[INVALID] = pa.array([parsed.reason if parsed else None for parsed in parsed_answers], pa.string())
    return pa.table(columns), count_fits([parsed for parsed in parsed_answers if parsed])


def values_of(row: dict[str, Any], settings: Caption) -> dict[str, Any] | None:
    """Return the fields in a row of captions, or None if the answer does not fit or the suite has no fields."""
    if settings.schema_of_fields is None or row[INVALID] is not None:
        return None
    return {name: row[name] for name in settings.field_names}


def sum_fits(counts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum of the counts of several parts."""
    valid, invalid = 0, Counter[str]()
    for part_counts in counts:
        valid += part_counts.get("valid", 0)
        invalid.update(part_counts.get("invalid", {}))
    return {"valid": valid, "invalid": dict(sorted(invalid.items()))}
