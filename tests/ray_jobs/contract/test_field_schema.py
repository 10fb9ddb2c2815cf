"""The schema of fields: the supported part of JSON schema, the bounds that are filled in, and the error lines."""

import json
from typing import Any

import jsonschema
import pytest
from field_schemas import BOX, LOCATED, WHOLE
from samples import with_value

from ray_jobs.contract.field_schema import (
    SchemaError,
    complete_schema,
    is_box,
    max_length,
    read_schema,
)
from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.inputs.errors import InputError

END = {"minimum": -(10**9), "maximum": 10**9}


@pytest.mark.parametrize(
    ("field_schema", "expected"),
    [
        ({"type": "string"}, {"type": "string", "minLength": 0, "maxLength": 256}),
        ({"type": "string", "minLength": 300}, {"type": "string", "minLength": 300, "maxLength": 300}),
        ({"type": "string", "enum": ["b", "a"]}, {"type": "string", "enum": ["b", "a"]}),
        ({"type": "integer"}, {"type": "integer", **END}),
        ({"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 0, "maximum": 10**9}),
        ({"type": "number", "maximum": 0.5}, {"type": "number", "minimum": -(10**9), "maximum": 0.5}),
        ({"type": "boolean", "title": "Indoors?"}, {"type": "boolean"}),
        (
            {"type": "array", "items": {"type": "boolean"}},
            {"type": "array", "items": {"type": "boolean"}, "minItems": 0, "maxItems": 16},
        ),
        (
            BOX,
            {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": 1000},
                "minItems": 4,
                "maxItems": 4,
            },
        ),
    ],
    ids=lambda schema: json.dumps(schema)[:60],
)
def test_bounds_that_are_not_given_are_filled_in(field_schema: dict[str, Any], expected: dict[str, Any]) -> None:
    completed = complete_schema({"type": "object", "properties": {"it": field_schema}})
    assert completed["properties"] == {"it": expected}
    assert (completed["required"], completed["additionalProperties"]) == (["it"], False)
    jsonschema.Draft202012Validator.check_schema(completed)


def test_a_complete_schema_stays_as_it_is_and_in_its_order() -> None:
    completed = complete_schema(WHOLE)
    assert complete_schema(completed) == completed
    assert completed["required"] == list(WHOLE["properties"])
    assert list(complete_schema(json.loads(json.dumps(completed)))["properties"]) == list(WHOLE["properties"])


def test_what_a_box_is() -> None:
    properties = complete_schema(WHOLE)["properties"]
    assert [name for name in properties if is_box(properties[name])] == ["box"]
    assert is_box(properties["boxes"]["items"])
    assert is_box(properties["found"]["items"]["properties"]["box"])


REFUSED: dict[str, tuple[Any, str]] = {
    "no object": ([], "must be a JSON schema, or the name of a .json file"),
    "a list": ({"type": "array", "items": {"type": "string"}}, "`items` is not supported here"),
    "no properties": ({"type": "object"}, "must be of type object and have `properties`"),
    "empty": ({"type": "object", "properties": {}}, "must be of type object and have `properties`"),
    "optional": (WHOLE | {"required": ["count"]}, "`required` must name all properties"),
    "open": (WHOLE | {"additionalProperties": True}, "`additionalProperties` must be false"),
    "definitions": (WHOLE | {"$defs": {"a": {}}}, "`$defs` is not supported here; write each schema out"),
    "mistyped": (WHOLE | {"requird": []}, "`requird` is not supported here; did you mean 'required'?"),
    "a number as name": ({"properties": {1: {"type": "string"}}}, "`properties` has the key 1; put it in quotes"),
    "too many": ({"properties": {f"f{n}": {"type": "boolean"} for n in range(33)}}, "33 properties, more than 32"),
    "too long": (
        {"properties": {"a": {"type": "array", "maxItems": 256, "items": {"type": "string", "maxLength": 4096}}}},
        "allows an answer of 1049",
    ),
    "large": (
        {"properties": {f"f{n}": {"type": "string", "enum": [f"{c:0200}" for c in range(200)]} for n in range(2)}},
        "bytes with its bounds, more than 65536; give fewer or shorter choices",
    ),
    "a caption of numbers": ({"properties": {"caption": {"type": "integer"}}}, "caption: is the caption, so"),
}
VALUES_REFUSED: dict[str, tuple[Any, str]] = {
    "a reference": ({"$ref": "#/$defs/a"}, "it: `$ref` is not supported here; write the schema out"),
    "a reference to itself": ({"$ref": "#"}, "it: `$ref` is not supported here"),
    "no type": ({"enum": ["a"]}, "it: its type is none; give one of string, integer"),
    "null": ({"type": "null"}, "it: its type is 'null'; give one of"),
    "nullable": ({"type": ["string", "null"]}, "it: has several types; give one"),
    "any of": ({"anyOf": [{"type": "string"}]}, "it: its type is none"),
    "a pattern": ({"type": "string", "pattern": "(a+)+$"}, "it: `pattern` is not supported here; a pattern can take"),
    "a format": ({"type": "string", "format": "date"}, "it: `format` is not supported here"),
    "a constant": ({"type": "string", "const": "a"}, "it: `const` is not supported here; give an `enum` of one"),
    "mistyped": ({"type": "string", "maxlength": 3}, "`maxlength` is not supported here; did you mean 'maxLength'?"),
    "exclusive": ({"type": "integer", "exclusiveMinimum": 0}, "`exclusiveMinimum` is not supported here"),
    "no schema": (3, "it: must be a schema, like {type: string}"),
    "an object": ({"type": "object", "properties": {"a": {"type": "string"}}}, "it: an object cannot be here"),
    "no items": ({"type": "array"}, "it: an array needs `items`"),
    "a list of lists": (
        {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        "it.items: an array cannot be here",
    ),
    "other objects": (
        {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "it.items: the objects of an array have two properties, label and box",
    ),
    "a label that is no text": (
        with_value(LOCATED, "items.properties.label", {"type": "integer"}),
        "it.items: its label must be a string and its box an array of four numbers",
    ),
    "upside down": ({"type": "integer", "minimum": 5, "maximum": 4}, "it: `minimum` 5 is over `maximum` 4"),
    "half a minimum": ({"type": "integer", "minimum": 0.5}, "it: `minimum` must be a whole number"),
    "not finite": ({"type": "number", "maximum": float("inf")}, "it: `maximum` must be a number from"),
    "not a number": ({"type": "number", "maximum": float("nan")}, "it: `maximum` must be a number from"),
    "a boolean as bound": ({"type": "string", "maxLength": True}, "it: `maxLength` must be a whole number"),
    "negative": ({"type": "array", "items": {"type": "string"}, "maxItems": -1}, "it: `maxItems` must be a whole"),
    "endless": ({"type": "string", "maxLength": 10**6}, "it: `maxLength` must be a whole number from 0 to 4096"),
    "an empty choice": ({"type": "string", "enum": []}, "it: `enum` must be a list of 1 to 256 values"),
    "a choice twice": ({"type": "string", "enum": ["a", "a"]}, "it: `enum` holds a value twice"),
    "a choice of another type": ({"type": "string", "enum": ["a", 1]}, "it: `enum` holds 1, which is no string"),
    "a boolean choice": ({"type": "integer", "enum": [True]}, "it: `enum` holds True, which is no integer"),
    "a hidden choice": ({"type": "string", "enum": ["a\x00"]}, "give values of up to 256 visible characters"),
    "half a surrogate": ({"type": "string", "enum": ["\ud800"]}, "give values of up to 256 visible characters"),
    "a choice with a length": ({"type": "string", "enum": ["a"], "maxLength": 3}, "so `maxLength` does nothing"),
}
NAMES_REFUSED = {
    "a column": ("tokens", "tokens: is a column of the captions already; rename the field"),
    "an id": ("image_id", "image_id: is a column of the captions already"),
    "a space": ("two words", "'two words': a field's name is up to 63 letters"),
    "empty": ("", "'': a field's name is up to 63 letters"),
    "a letter of another script": ("größe", "'größe': a field's name is up to 63 letters"),
    "markup": ("<b>", "'<b>': a field's name is up to 63 letters"),
}
CASES = REFUSED | {
    f"it {name}": ({"properties": {"it": it}}, message) for name, (it, message) in VALUES_REFUSED.items()
}
CASES |= {f"named {case}": ({"properties": {n: {"type": "string"}}}, t) for case, (n, t) in NAMES_REFUSED.items()}


@pytest.mark.parametrize(("schema", "message"), CASES.values(), ids=CASES)
def test_an_unsupported_schema_is_an_error_of_one_line(schema: Any, message: str) -> None:
    with pytest.raises(SchemaError) as error:
        complete_schema(schema)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"a": 1, "a": 2}', "has a key twice"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "deep"),
        (b"\xff", "is not UTF-8"),
        (b'{"x": [' + b"1," * 6000 + b"1]}", "has more than 5000 values"),
    ],
    ids=["empty", "a list", "a key twice", "deep", "not text", "many"],
)
def test_a_file_that_is_no_schema_is_reported(data: bytes, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        read_schema(data)


def test_the_longest_answer_is_the_longest() -> None:
    completed = complete_schema(
        {"properties": {"n": {"type": "integer", "minimum": -10, "maximum": 9}, "b": {"type": "boolean"}}}
    )
    assert max_length(completed) == len('{"n": -10, "b": false}') + 2


SUITE = "name: s\ndataset: {source: /d%s}\ncaption: {fields: %s}\n"
INLINE = "{properties: {count: {type: integer, minimum: 0, maximum: 9}}}"


def test_a_suite_holds_a_schema_or_names_its_file() -> None:
    inline = parse_suite(SUITE % ("", INLINE), "s").caption
    assert inline.field_names == ("count",)
    assert inline.fields == complete_schema({"properties": {"count": {"type": "integer", "minimum": 0, "maximum": 9}}})
    from_file = parse_suite(SUITE % ("", "fields.json"), "s").caption
    assert (from_file.fields, from_file.schema_of_fields, from_file.field_names) == ("fields.json", None, ())


@pytest.mark.parametrize(
    ("truth", "fields", "message"),
    [
        ("", "3", "suite s: caption.fields: must be a JSON schema, or the name"),
        ("", "fields.yaml", "suite s: caption.fields: 'fields.yaml' must be a .json file beside the suite"),
        ("", "{properties: {it: {type: strin}}}", "suite s: caption.fields: it: its type is 'strin'; give one of"),
        (", truth: {count: n}", "null", "suite s: dataset.truth: gives the right values of fields, and there are none"),
        (", truth: {conut: n}", INLINE, "caption.fields has no property 'conut'; did you mean 'count'?"),
        (", truth: {count: ''}", INLINE, "suite s: dataset.truth.count: String should have at least 1 character"),
    ],
    ids=["a number", "no json", "a type", "no fields", "a mistyped field", "no column"],
)
def test_faults_of_fields_in_a_suite_are_one_line(truth: str, fields: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_suite(SUITE % (truth, fields), "s")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
