import pytest
from report_case import make_comparison

from ray_jobs.contract.artifacts import Summary
from ray_jobs.report import tables


def summary(direction: int) -> Summary:
    nothing = dict.fromkeys(("mean", "standard_error", "low", "high"))
    return Summary(n=3, expected=3, direction=direction, **nothing)


@pytest.mark.parametrize(
    ("direction", "word"), [(1, "▲ better"), (-1, "▲ better"), (0, "▲ higher")]
)  # a difference is signed so that positive is better, where there is a better
def test_a_custom_metric_without_a_direction_is_not_better(direction: int, word: str) -> None:
    comparison_row = make_comparison("politeness", 2.0, advisory=True, low=1.0, high=3.0)
    (row,) = tables.build_comparison_rows([comparison_row], {"politeness": summary(direction)})
    assert (row.direction, row.word) == (direction, word)


@pytest.mark.parametrize(("metric", "direction"), [("chrf", 1), ("empty", -1), ("words", 0), ("politeness", 0)])
def test_what_has_no_summary_goes_the_way_it_is_known_to(metric: str, direction: int) -> None:
    assert tables.direction_of(metric, None) == direction
