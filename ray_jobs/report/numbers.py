"""Format the report's numbers: with equal decimals within a row, a real minus, and a dash for a missing value.

The modules of the report call this, and the table of a comparison.
"""

import math

NONE = "–"
LEAST = 1e-12  # smaller values are rounding errors of sums and are shown as 0


def choose_decimals(*values: float | None) -> int:
    """Decimals that give the largest of the values three or four digits: 0.785, 4.125, 61.23, 123.4, 2048."""
    sizes = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(sizes, default=0.0)
    return 3 if largest < 1 else max(0, 3 - math.floor(math.log10(largest)))


def format_number(value: float | None, places: int = 3, sign: bool = False) -> str:
    """The value with `places` decimals. `sign` adds a plus to positive values, for differences."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) < LEAST:
        value = 0.0
    if 0 < abs(value) < 0.5 * 10**-places:  # a value that is not 0 must not be shown as 0
        places = min(8, -math.floor(math.log10(abs(value))))
    written = f"{value:+,.{places}f}" if sign and value else f"{value:,.{places}f}"
    return written.replace("-", "\u2212")


def format_interval(low: float | None, high: float | None, places: int = 3, sign: bool = False) -> str:
    if low is None or high is None:
        return NONE
    return f"{format_number(low, places, sign)} to {format_number(high, places, sign)}"


def format_p(value: float | None) -> str:
    """A p-value: four decimals, and never 0."""
    if value is None or not math.isfinite(value):
        return NONE
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def format_count(value: int | None) -> str:
    """A count with separators of thousands; a dash without a value."""
    return NONE if value is None else f"{value:,}"


def format_seconds(value: float) -> str:
    """Seconds as a text, for example 1.5 s, 3 min 20 s or 2 h 05 min."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
