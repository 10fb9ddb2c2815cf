"""The first of equal files stays, whatever the order in which parts are done."""

import json
from typing import Any

from ray_jobs.golden.duplicates import hashes

PARTS: dict[str, list[tuple[str, str]]] = {
    "part-00000": [("a", "01"), ("b", "02"), ("c", "01")],
    "part-00001": [("d", "03"), ("e", "04")],
    "part-00002": [("f", "02"), ("g", "01"), ("h", "05")],
}
EXPECTED = [
    {"name": "part-00000", "repeats": {"c": "a"}},
    {"name": "part-00002", "repeats": {"f": "b", "g": "a"}},
]


def found(order: list[str]) -> list[dict[str, Any]]:
    with hashes() as duplicates:
        for name in order:
            duplicates.add(name, [image for image, _ in PARTS[name]], [sha for _, sha in PARTS[name]])
        return [task | {"repeats": json.loads(task["repeats"])} for task in duplicates.tasks()]


def test_the_first_in_the_order_of_the_set_stays() -> None:
    assert found(list(PARTS)) == found(list(PARTS)[::-1]) == EXPECTED


def test_none() -> None:
    with hashes() as duplicates:
        duplicates.add("part-00000", ["a", "b"], ["01", "02"])
        duplicates.add("part-00001", [], [])
        assert list(duplicates.tasks()) == []
