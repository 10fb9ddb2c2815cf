"""The delays before retries, as the deployment sets them."""

from datetime import timedelta

import pytest
from assay_airflow.exceptions import DELAYS, parse_delays


def test_delays_are_minutes_in_their_order() -> None:
    assert parse_delays("0.5, 2,60") == (timedelta(seconds=30), timedelta(minutes=2), timedelta(hours=1))


def test_the_default_delays_sum_to_more_than_two_hours() -> None:
    assert sum(DELAYS, timedelta()) > timedelta(hours=2)


def test_a_delay_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="soon"):
        parse_delays("1,soon")
