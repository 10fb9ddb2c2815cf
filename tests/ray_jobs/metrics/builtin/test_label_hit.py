import pytest

from ray_jobs.metrics import CaptionContext
from ray_jobs.metrics.builtin.label_hit import list_names, measure


def hit(text: str, label: str | None, *synonyms: str) -> float | None:
    names = list_names(label, synonyms) if label is not None else ()
    return measure(CaptionContext(text, 5, "stop", label=label, names=names))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A tench on a plate.", "tench, Tinca tinca"),
        ("a tinca  TINCA in water", "tench, Tinca tinca"),
        ("a red fire engine", "fire_engine"),
        ("a fire-engine in red", "fire_engine"),
        ("two fire engines", "fire engine, fire truck"),
        ("three dogs", "dog"),
        ("a dog", "dogs"),
        ("two buses", "bus"),
        ("a bus", "bus"),
        ("boxes on a shelf", "box"),
        ("berries in a bowl", "berry"),
        ("wolves in snow", "wolf"),
        ("sharp knives", "knife"),
        ("three firemen", "fireman"),
        ("DOG!", "dog"),
        ("a (dog)", "dog"),
        ("the dog's ball", "dog"),
        ("a C++ book", "C++"),
        ("an STRASSE sign", "Straße"),
        ("一只 狗", "狗"),
        ("a t-shirt", "t shirt"),
        ("a t shirt", "T-shirt"),
    ],
)
def test_named(text: str, label: str) -> None:
    assert hit(text, label) == 1


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("a hotdog stand", "dog"),
        ("a dogma", "dog"),
        ("a catalogue", "cat"),
        ("a fire and an engine", "fire engine"),
        ("a glas", "glass"),
        ("a bu stop", "bus"),
        ("", "dog"),
        ("a.c", "a+c"),
        ("abc", "a.c"),
        ("axxb", "a.*b"),
    ],
)
def test_not_named(text: str, label: str) -> None:
    assert hit(text, label) == 0


def test_synonyms_count_too() -> None:
    assert hit("a puppy on the lawn", "dog") == 0
    assert hit("a puppy on the lawn", "dog", "puppy", "hound") == 1
    assert hit("two hounds", "dog", "puppy", "hound") == 1


def test_a_label_without_a_word_gives_no_value() -> None:
    assert hit("a dog", None) is None
    assert hit("a dog", "") is None
    assert hit("a dog", " , _ ") is None
    for label in ("-", "--", "?", "-, ...", "🐶"):
        assert hit("cats es s -s ?", label) is None
    assert hit("a dog", "-, dog") == 1
    assert hit("cats", "-", "dog") == 0


def test_names_of_a_label() -> None:
    assert list_names("tench, Tinca tinca") == ("tench", "Tinca tinca")
    assert list_names("fire_engine", ("fire truck", "fire_engine")) == ("fire engine", "fire truck")
