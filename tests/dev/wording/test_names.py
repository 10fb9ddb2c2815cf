"""dev.wording finds the names that the style guide replaces, and leaves verbs alone."""

import ast
from collections.abc import Iterable

import pytest

from dev.wording.names import Place, list_functions, list_private_words, list_vague_locals, starts_with_participle

SOURCE = """
TURN = 3

class Served:
    told: str = ""

    def __init__(self, one):
        self.swapped = one.found
        held = [at for at in one]

    def _gathered(self): ...

def same(x): ...
"""
TREE = ast.parse(SOURCE)


def list_words(places: Iterable[Place]) -> list[str]:
    return [place.word for place in places]


@pytest.mark.parametrize("name", ["summed_up", "_gathered", "making_room", "held", "lost_of", "told"])
def test_a_name_that_starts_with_a_participle_is_found(name: str) -> None:
    assert starts_with_participle(name)


@pytest.mark.parametrize(
    "name", ["read_part", "feed", "_seed_of", "is_held", "put", "build_manifest", "with_fingerprint"]
)
def test_a_verb_or_a_question_is_left_alone(name: str) -> None:
    assert not starts_with_participle(name)


def test_functions_are_listed_without_those_that_python_names() -> None:
    assert sorted(list_words(list_functions(TREE, "ray_jobs/x.py"))) == ["_gathered", "same"]


def test_each_use_of_a_vague_local_is_listed_and_no_attribute() -> None:
    assert sorted(list_words(list_vague_locals(TREE, "ray_jobs/x.py"))) == ["at", "at", "held", "one", "one", "one"]


def test_definitions_that_bear_a_private_word_are_listed() -> None:
    """`same` is a private word in the engine alone."""
    anywhere = ["Served", "TURN", "_gathered", "swapped", "told"]
    assert sorted(list_words(list_private_words(TREE, "ray_jobs/asking.py"))) == sorted([*anywhere, "asking"])
    assert sorted(list_words(list_private_words(TREE, "ray_jobs/engine/x.py"))) == sorted([*anywhere, "same"])
