"""Match the patterns by which an adapter names modules, in a time that the adapter's author cannot blow up.

`lora_config` calls this module in both planes. PEFT treats the keys of `rank_pattern` and `alpha_pattern` as regular
expressions. Python's `re` backtracks: a pattern of nine letters took 4.9 s for a name of 27 letters. This module tracks
the set of positions that a pattern can reach, which takes quadratic time at worst. A pattern that needs more is refused
(a repetition in a repetition, counts, look-around, references).
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

LONGEST = 300  # characters of a pattern
MOST = 1_000  # patterns in a config, because matching costs patterns times modules
REPEATS = {(0, 1), (0, "MAXREPEAT"), (1, "MAXREPEAT")}
CATEGORIES = {"CATEGORY_DIGIT": re.compile(r"\d"), "CATEGORY_WORD": re.compile(r"\w")}

Node = tuple[Any, Any]


def find_fault(pattern: str) -> str | None:
    """Return why the pattern is refused, in words that follow its field's name, or None if `matches` accepts it."""
    try:
        _parse(pattern)
    except ValueError as error:
        return str(error)
    return None


def matches(pattern: str, module: str) -> bool:
    """True if the pattern matches the end of a module's path, from the start or a dot on: `(.*\\.)?(pattern)$` in PEFT.

    Raises ValueError if the pattern is refused.
    """
    if fault := find_fault(pattern):
        raise ValueError(f"its rank_pattern or alpha_pattern {fault}; name the modules by their paths")
    starts = {0, *(index + 1 for index, letter in enumerate(module) if letter == ".")}
    return len(module) in _reach(_parse(pattern), module, starts)


@lru_cache(maxsize=4096)
def _parse(pattern: str) -> Sequence[Node]:
    from re import _parser  # type: ignore[attr-defined]  # gives the syntax tree that `re.compile` uses

    shown = repr(pattern[:60])
    if len(pattern) > LONGEST:
        raise ValueError(f"has a pattern of {len(pattern)} characters, more than {LONGEST}")
    try:
        parsed = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"has {shown}, which is no pattern ({error})") from None
    nodes: Sequence[Node] = list(parsed)
    if parsed.state.flags & ~re.UNICODE:
        raise ValueError(f"has {shown}, with a flag")
    if unsafe := next(_find_unsafe(nodes, inside_repeat=False), None):
        raise ValueError(f"has {shown}, with {unsafe}")
    return nodes


def _find_unsafe(nodes: Sequence[Node], inside_repeat: bool) -> Iterator[str]:
    for kind, value in nodes:
        match str(kind):
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "AT":
                pass
            case "IN":
                yield from (
                    "a class of characters that is not taken"
                    for part, argument in value
                    if str(part) not in ("LITERAL", "RANGE", "NEGATE") and str(argument) not in CATEGORIES
                )
            case "BRANCH":
                for branch in value[1]:
                    yield from _find_unsafe(list(branch), inside_repeat)
            case "SUBPATTERN" if not value[1] and not value[2]:
                yield from _find_unsafe(list(value[3]), inside_repeat)
            case "MAX_REPEAT" | "MIN_REPEAT":
                low, high, body = value
                if inside_repeat:
                    yield "a repetition in a repetition"
                if (low, high if high == 1 else str(high)) not in REPEATS:
                    yield "a count"
                yield from _find_unsafe(list(body), inside_repeat=True)
            case other:
                yield f"what is not taken ({other.lower()})"


def _reach(nodes: Sequence[Node], text: str, places: set[int]) -> set[int]:
    """Return the positions in the text at which the nodes can end, if they begin at `places`."""
    for kind, value in nodes:
        match str(kind):
            case "AT":
                places = places & ({0} if "BEGINNING" in str(value) else {len(text)})
            case "BRANCH":
                places = set().union(*(_reach(list(branch), text, places) for branch in value[1]))
            case "SUBPATTERN":
                places = _reach(list(value[3]), text, places)
            case "MAX_REPEAT" | "MIN_REPEAT":
                places = _reach_repeated(value, text, places)
            case _:
                places = {
                    index + 1 for index in places if index < len(text) and _accepts(str(kind), value, text[index])
                }
    return places


def _reach_repeated(value: Any, text: str, places: set[int]) -> set[int]:
    low, high, body = value
    frontier = _reach(list(body), text, places)
    reached = frontier | (set() if low else places)
    while high != 1 and (frontier := _reach(list(body), text, frontier) - reached):
        reached |= frontier
    return reached


def _accepts(kind: str, value: Any, letter: str) -> bool:
    if kind == "LITERAL":
        return bool(ord(letter) == value)
    if kind == "NOT_LITERAL":
        return bool(ord(letter) != value)
    if kind == "ANY":
        return letter != "\n"
    negated = str(value[0][0]) == "NEGATE"
    return any(_is_in_class(str(part), argument, letter) for part, argument in value[negated:]) != negated


def _is_in_class(part: str, value: Any, letter: str) -> bool:
    if part == "LITERAL":
        return bool(ord(letter) == value)
    if part == "RANGE":
        return bool(value[0] <= ord(letter) <= value[1])
    return CATEGORIES[str(value)].fullmatch(letter) is not None
