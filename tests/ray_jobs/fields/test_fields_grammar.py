"""The grammar of fields in xgrammar, as vLLM uses it: what it accepts and rejects, and that answers end."""

import json
import random
from typing import Any

import jsonschema
import pytest
import torch
import xgrammar
from field_schemas import BOX, LOCATED, WHOLE
from samples import with_value
from stage_jobs import GOOD
from transformers import AutoTokenizer

from ray_jobs.contract.field_schema import complete_schema, max_length
from ray_jobs.fields.answers import BOX_CORNERS, read_answer
from ray_jobs.fields.grammar import write_grammar


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(GOOD)


@pytest.fixture(scope="module")
def compiler(tokenizer: Any) -> xgrammar.GrammarCompiler:
    return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo.from_huggingface(tokenizer), max_threads=1)


def lets_through(compiler: xgrammar.GrammarCompiler, schema: dict[str, Any], answer: str) -> bool:
    matcher = xgrammar.GrammarMatcher(compiler.compile_grammar(write_grammar(complete_schema(schema))))
    return bool(matcher.accept_string(answer) and matcher.is_completed())


def of_one(value: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"it": value}}


VALUES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "string": (
        {"type": "string", "minLength": 2, "maxLength": 4},
        ['"ab"', '"äöü€"', '"😀😀"', r'"\"\\\n\u00e9"', r'"\ud83d\ude00a"', '" {} "'],
        ['"a"', '"abcde"', "ab", r'"\ud83d a"', r'"\u12"', '"a\nb"', r'"\x41b"', "null"],
    ),
    "enum": (
        {"type": "string", "enum": ["red", 'a "b"\\', "grün"]},
        ['"red"', r'"a \"b\"\\"', '"grün"', r'"gr\u00fcn"'],
        ['"Red"', '"re"', '"red "', '"green"', '""'],
    ),
    "integer": (
        {"type": "integer", "minimum": -12, "maximum": 305},
        ["-12", "0", "9", "305"],
        ["-13", "306", "01", "1.0", "-", "-0"],
    ),
    "numbers to choose": ({"type": "integer", "enum": [1, -30]}, ["1", "-30"], ["3", "-3", "-300"]),
    "number": (
        {"type": "number", "minimum": 0, "maximum": 1},
        ["0", "0.5", "0.123456", "1", "1.0"],
        ["1.1", "2", "-0.5", ".5", "0.", "1e0", "0.1234567"],
    ),
    "negative number": (
        {"type": "number", "minimum": -3, "maximum": -1},
        ["-1", "-2.75", "-3.0"],
        ["-0.5", "-3.1", "1"],
    ),
    "boolean": ({"type": "boolean"}, ["true", "false"], ["True", "1", "null"]),
    "list": (
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        ["[true]", "[true,false]", "[true, false, true]"],
        ["[]", "[true, true, true, true]", "[true,]", "[ true]", "[true,  true]"],
    ),
    "list of none": ({"type": "array", "items": {"type": "boolean"}, "maxItems": 0}, ["[]"], ["[true]"]),
    "list of exactly one": (
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 1},
        ["[true]"],
        ["[]"],
    ),
    "box": (BOX, ["[1,2,3,1000]"], ["[1,2,3]", "[1,2,3,4,5]", "[1,2,3,1001]", "[1.5,2,3,4]"]),
    "objects": (
        LOCATED,
        ["[]", '[{"label": "", "box": [5, 5, 5, 5]}]', '[{"label":"a","box":[0,0,1,1]},{"label":"","box":[0,0,0,0]}]'],
        ['[{"label": "a"}]', '[{"box": [0, 0, 1, 1], "label": "a"}]'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_what_the_grammar_lets_through(compiler: xgrammar.GrammarCompiler, name: str) -> None:
    schema, fitting, others = VALUES[name]
    for value in fitting:
        assert lets_through(compiler, of_one(schema), f'{{"it": {value}}}'), value
        assert lets_through(compiler, of_one(schema), f'{{"it":{value}}}'), value
        jsonschema.validate(json.loads(value), complete_schema(of_one(schema))["properties"]["it"])
    for value in others:
        assert not lets_through(compiler, of_one(schema), f'{{"it": {value}}}'), value


@pytest.mark.parametrize(
    "answer",
    ['{"a": true, "b": false}', '{"a":true,"b":false}'],
)
def test_properties_come_in_the_order_of_the_schema(compiler: xgrammar.GrammarCompiler, answer: str) -> None:
    boolean = {"type": "boolean"}
    assert lets_through(compiler, {"properties": {"a": boolean, "b": boolean}}, answer)
    assert not lets_through(compiler, {"properties": {"b": boolean, "a": boolean}}, answer)


@pytest.mark.parametrize(
    "answer", ['{"it":  true}', '{ "it": true}', '{"it": true }', '{"it": true}\n', '{"it"\n: true}']
)
def test_there_is_no_space_without_an_end(compiler: xgrammar.GrammarCompiler, answer: str) -> None:
    assert not lets_through(compiler, of_one({"type": "boolean"}), answer)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 9), (0, 1000), (-5, 17), (3, 3), (-120, -7), (98, 2003), (100, 100), (-1, 0), (0, 10**9), (-(10**9), 10**9)],
)
def test_a_range_of_whole_numbers_is_exact(compiler: xgrammar.GrammarCompiler, low: int, high: int) -> None:
    schema = of_one({"type": "integer", "minimum": low, "maximum": high})
    compiled = compiler.compile_grammar(write_grammar(complete_schema(schema)))
    tried = {*range(max(low - 30, -2100), min(high + 30, 2100)), low - 1, low, high, high + 1}
    for number in tried:
        matcher = xgrammar.GrammarMatcher(compiled)
        is_accepted = matcher.accept_string(f'{{"it":{number}}}') and matcher.is_completed()
        assert is_accepted == (low <= number <= high), number


SHORT = with_value(with_value(WHOLE, "properties.boxes.maxItems", 2), "properties.found.maxItems", 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_tokens_drawn_at_random_end_in_an_answer_that_fits(
    compiler: xgrammar.GrammarCompiler, tokenizer: Any, seed: int
) -> None:
    """An untrained model draws such tokens. A grammar cannot enforce the order of a box's corners, and nothing else
    is missing."""
    schema, rng = complete_schema(SHORT), random.Random(seed)
    matcher = xgrammar.GrammarMatcher(compiler.compile_grammar(write_grammar(schema)))
    allowed, tokens = xgrammar.allocate_token_bitmask(1, len(tokenizer)), []
    while not matcher.is_terminated():
        matcher.fill_next_token_bitmask(allowed)
        bits = (allowed[0][:, None] >> torch.arange(32)) & 1
        tokens.append(rng.choice(bits.flatten()[: len(tokenizer)].nonzero().flatten().tolist()))
        assert matcher.accept_token(tokens[-1])
        assert len(tokens) < 6 * max_length(schema)
    answer = tokenizer.decode(tokens, skip_special_tokens=True)
    jsonschema.validate(json.loads(answer), schema)
    assert read_answer(schema, answer, "stop", 9999).reason in (None, BOX_CORNERS)
