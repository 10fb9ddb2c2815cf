"""Build the grammar that vLLM enforces while it writes an answer: EBNF for xgrammar, from a complete schema.

The JSON schema itself is not used, because xgrammar then allows endless white space between values. vLLM can turn that
off only for a whole engine, and the engine's other jobs would see the change. With this grammar an answer is one line,
with at most one space after a comma or a colon, and with its properties in the schema's order. Every repetition has a
bound, so every answer ends. The drivers of `caption` and `audit` call this module, and the
check of a suite.
"""

import json
import math
from functools import lru_cache

from ray_jobs.contract.field_schema import Schema
from ray_jobs.contract.sections.caption import Caption

DECIMALS = 6  # digits after the decimal point
STRING = r"""
character ::= [^"\\\x00-\x1f\x7f] | "\\" ["\\/bfnrt] | "\\u" unit | "\\u" high "\\u" low
unit ::= [0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}
high ::= [dD] [89abAB] [0-9a-fA-F]{2}
low ::= [dD] [c-fC-F] [0-9a-fA-F]{2}
"""


def grammar_of(settings: Caption) -> str | None:
    """Return the grammar of a suite's answers, or None if the suite has no fields."""
    return write_grammar(settings.schema_of_fields) if settings.schema_of_fields else None


def write_grammar(schema: Schema) -> str:
    """Return the grammar of the values that fit the schema."""
    return _build_grammar(json.dumps(schema))


@lru_cache(16)
def _build_grammar(schema: str) -> str:
    rules: dict[str, str] = {}
    root = _object(json.loads(schema), "f", rules)
    rules = {"root": root, **rules}
    return "\n".join(f"{name} ::= {rule}" for name, rule in rules.items()) + STRING


def _value(schema: Schema, name: str, rules: dict[str, str]) -> str:
    """Add the rule of a value to `rules`, and return the name of the rule."""
    kind = schema["type"]
    if "enum" in schema:
        forms = (json.dumps(choice, ensure_ascii=escaped) for choice in schema["enum"] for escaped in (False, True))
        rule = " | ".join(map(_literal, dict.fromkeys(forms)))
    elif kind == "string":
        rule = f'"\\"" {_repeat_rule("character", schema["minLength"], schema["maxLength"])} "\\""'
    elif kind == "integer":
        rule = " | ".join(_integers(schema["minimum"], schema["maximum"]))
    elif kind == "number":
        rule = _numbers(math.floor(schema["minimum"]), math.ceil(schema["maximum"]))
    elif kind == "boolean":
        rule = '"true" | "false"'
    elif kind == "object":
        rule = _object(schema, name, rules)
    else:
        rule = _array(schema, name, rules)
    rules[name] = rule
    return name


def _object(schema: Schema, name: str, rules: dict[str, str]) -> str:
    parts = []
    for number, (key, inside) in enumerate(schema["properties"].items()):
        value = _value(inside, f"{name}{number}x", rules)
        parts.append(f'{_literal(json.dumps(key))} ":" " "? {value}')
    return '"{" ' + ' "," " "? '.join(parts) + ' "}"'


def _array(schema: Schema, name: str, rules: dict[str, str]) -> str:
    item = _value(schema["items"], f"{name}i", rules)
    low, high = schema["minItems"], schema["maxItems"]
    if high == 0:
        return '"[]"'
    rules[f"{name}n"] = f'"," " "? {item}'
    filled = f'"[" {item} {_repeat_rule(f"{name}n", max(low - 1, 0), high - 1)} "]"'
    return filled if low else f'"[]" | {filled}'


def _repeat_rule(what: str, low: int, high: int) -> str:
    return f"{what}{{{low},{high}}}" if high else ""


def _integers(low: int, high: int) -> list[str]:
    """Return alternatives that together match the whole numbers from low to high, each in one spelling."""
    rules = []
    if low < 0:
        rules += [f'"-" {digits}' for digits in _digits(max(1, -high), -low)]
    return rules + (_digits(max(0, low), high) if high >= 0 else [])


def _digits(low: int, high: int) -> list[str]:
    """Return the same for numbers of at least 0, with separate alternatives for each count of digits."""
    rules, length = [], len(str(low))
    while low <= high:
        last = min(high, 10**length - 1)
        rules += _same_length_digits(str(low), str(last))
        low, length = last + 1, length + 1
    return rules


def _same_length_digits(low: str, high: str) -> list[str]:
    if low == high:
        return [_literal(low)]
    if low[0] == high[0]:
        return [f"{_literal(low[0])} {rest}" for rest in _same_length_digits(low[1:], high[1:])]
    first, last, length = int(low[0]), int(high[0]), len(low) - 1
    below, above = [], []
    if length and low[1:] != "0" * length:
        below = [f"{_literal(low[0])} {rest}" for rest in _same_length_digits(low[1:], "9" * length)]
        first += 1
    if length and high[1:] != "9" * length:
        above = [f"{_literal(high[0])} {rest}" for rest in _same_length_digits("0" * length, high[1:])]
        last -= 1
    middle = [f"[{first}-{last}]" + (f" [0-9]{{{length}}}" if length else "")] if first <= last else []
    return below + middle + above


def _numbers(low: int, high: int) -> str:
    """Return a rule for the numbers between two whole numbers, with at most DECIMALS digits after the point."""
    rules = []
    if low < 0:
        rules += [f'"-" {digits}' for digits in _decimals(max(0, -high), -low)]
    if high >= 0:
        rules += _decimals(max(0, low), high)
    return " | ".join(rules)


def _decimals(low: int, high: int) -> list[str]:
    whole = f'({" | ".join(_digits(low, high - 1))}) ("." [0-9]{{1,{DECIMALS}}})?' if low < high else None
    end = f'{_literal(str(high))} ("." "0"{{1,{DECIMALS}}})?'
    return [rule for rule in (whole, end) if rule]


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
