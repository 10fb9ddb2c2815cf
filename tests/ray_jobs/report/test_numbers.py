import math

import pytest

from ray_jobs.report import numbers


@pytest.mark.parametrize(
    ("largest", "places"), [(0.0, 3), (0.785, 3), (1.0, 3), (4.125, 3), (10.0, 2), (61.23, 2), (100.0, 1), (2048, 0)]
)
def test_decimals_go_by_the_largest(largest: float, places: int) -> None:
    assert numbers.choose_decimals(largest, None, 0.001, math.nan) == places


@pytest.mark.parametrize(
    ("value", "places", "sign", "expected"),
    [
        (None, 3, False, "–"),
        (math.nan, 3, False, "–"),
        (math.inf, 3, False, "–"),
        (0.0, 3, True, "0.000"),
        (-0.25, 3, False, "\u22120.250"),
        (0.25, 2, True, "+0.25"),
        (0.00002, 3, True, "+0.00002"),  # not nothing
        (-1e-300, 3, False, "0.000"),
        (1234567.0, 0, False, "1,234,567"),
    ],
)
def test_numbers(value: float | None, places: int, sign: bool, expected: str) -> None:
    assert numbers.format_number(value, places, sign) == expected


def test_a_p_value_is_never_nothing() -> None:
    assert [numbers.format_p(p) for p in (0.0, 1e-9, 0.00015, 0.5, 1.0, None, math.nan)] == [
        "< 0.0001", "< 0.0001", "0.0001", "0.5000", "1.0000", "–", "–",
    ]  # fmt: skip


def test_an_interval_needs_both_ends() -> None:
    assert numbers.format_interval(-0.5, 0.25, 2, sign=True) == "\u22120.50 to +0.25"
    assert numbers.format_interval(None, 0.25) == numbers.format_interval(0.25, None) == "–"


def test_seconds() -> None:
    assert [numbers.format_seconds(took) for took in (0.04, 59.94, 61.0, 3600 * 2 + 300)] == [
        "0.0 s", "59.9 s", "1 min 01 s", "2 h 05 min",
    ]  # fmt: skip
