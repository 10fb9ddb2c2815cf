"""Of equal files the first one stays, in any order of the parts."""

import json
from typing import Any

import pytest
from samples import make_spec

from ray_jobs.golden.duplicates import open_duplicates
from ray_jobs.golden.set_checks import warn_of_many_references

PARTS: dict[str, list[tuple[str, str]]] = {
    "part-00000": [("a", "01"), ("b", "02"), ("c", "01")],
    "part-00001": [("d", "03"), ("e", "04")],
    "part-00002": [("f", "02"), ("g", "01"), ("h", "05")],
}
EXPECTED = [
    {"name": "part-00000", "repeats": {"c": "a"}},
    {"name": "part-00002", "repeats": {"f": "b", "g": "a"}},
]


def find_duplicates(order: list[str]) -> list[dict[str, Any]]:
    with open_duplicates() as duplicates:
        for name in order:
            duplicates.add(name, [image for image, _ in PARTS[name]], [sha for _, sha in PARTS[name]])
        duplicates.join()
        assert list(duplicates.join_tasks()) == []
        tasks = list(duplicates.drop_tasks())
        assert [task.pop("joined") for task in tasks] == ["[]"] * len(tasks)
        return [task | {"repeats": json.loads(task["repeats"])} for task in tasks]


def test_the_first_in_the_order_of_the_set_stays() -> None:
    assert find_duplicates(list(PARTS)) == find_duplicates(list(PARTS)[::-1]) == EXPECTED


def test_no_duplicates() -> None:
    with open_duplicates() as duplicates:
        duplicates.add("part-00000", ["a", "b"], ["01", "02"])
        duplicates.add("part-00001", [], [])
        assert list(duplicates.drop_tasks()) == []


REFERENCES = {"a": ["A dog."], "c": ["One dog."], "g": ["A dog."], "b": ["A cat."], "f": ["A cat."]}


def join_references(references: dict[str, list[str]]) -> tuple[dict[str, Any], set[str]]:
    """The references of each first image, and the repeats that are no plain duplicates."""
    with open_duplicates() as duplicates:
        for name, images in PARTS.items():
            texts = [json.dumps(references.get(image, [])) for image, _ in images]
            duplicates.add(name, [image for image, _ in images], [sha for _, sha in images], texts)
        duplicates.join()
        gains = {task["name"]: json.loads(task["references"]) for task in duplicates.join_tasks()}
        return gains, {image for task in duplicates.drop_tasks() for image in json.loads(task["joined"])}


def test_the_first_gets_the_references_of_all_that_equal_it() -> None:
    both = ["A dog.", "One dog."]
    assert join_references(REFERENCES) == ({"part-00000": {"a": both}}, {"c", "g"})
    # A job that goes on after a kill finds the first with all of them, and calls the others what they were called.
    assert join_references(REFERENCES | {"a": both}) == ({}, {"c", "g"})


def test_the_image_that_gets_most_references_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with open_duplicates() as duplicates:
        duplicates.add("part-00000", ["a", "b", "c"], ["01", "01", "02"], ['["A dog."]', '["One dog."]', '["A cat."]'])
        texts = [json.dumps([f"caption {number}"]) for number in range(60)]
        duplicates.add("part-00001", [f"gone {number}" for number in range(60)], ["03"] * 60, texts)
        merged = duplicates.join()
    assert merged == (60, "gone 0")
    warn_of_many_references(make_spec(), *merged)
    assert "gone 0 has 60 references, of rows whose images are the same bytes" in caplog.text
    caplog.clear()
    warn_of_many_references(make_spec(), 50, "a")
    assert not caplog.text
