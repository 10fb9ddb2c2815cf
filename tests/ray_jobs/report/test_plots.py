"""The plots: well-formed SVG in the page's own colours, with hostile names as plain text."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ray_jobs.report import plots
from ray_jobs.report.histogram import Histogram
from ray_jobs.report.plot import NAME_WIDTH, WIDTH, nice_ticks, write_ticks
from ray_jobs.report.trend import TrendPoint

HOSTILE = "<script>alert(1)</script>$\\frac{1}{0}$&\u202e"


def histogram(*values: float) -> Histogram:
    bins = Histogram()
    bins.add(np.array(values, dtype=float))
    return bins


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]


def sound(svg: str) -> None:
    root = ET.fromstring(svg)
    assert root.attrib["viewBox"].startswith("0 0 ")
    assert not re.search(r"#0101|http|<style|<metadata|url\((?!#)", svg)
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg)) <= set(ids)


MANY = [float(value) for value in np.random.default_rng(0).normal(60, 9, 500)]


@pytest.mark.parametrize(
    ("candidate", "baseline"),
    [
        (MANY, MANY[:250]),
        (MANY, []),
        (MANY, [1.0]),
        ([0, 1, 1], [0, 0, 1]),
        ([0, 1], MANY),
        ([11.0], []),
        ([11.0], [11.0]),
        ([0.0], [0.0]),
        ([1e300], [-1e300]),
        ([1e-300, 2e-300], []),
        ([5.0, 5.0 + 1e-12], [5.0]),
    ],
)
def test_a_distribution_of_any_values(candidate: list[float], baseline: list[float]) -> None:
    svg = plots.draw_distribution(histogram(*candidate), histogram(*baseline) if baseline else None)
    sound(svg)
    assert "var(--candidate)" in svg
    assert ("var(--baseline)" in svg) == bool(baseline)


def test_nothing_to_plot() -> None:
    assert plots.draw_distribution(histogram(), None) == ""
    assert plots.draw_distribution(histogram(), histogram(1.0)) == ""
    assert plots.draw_trend([]) == ""


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_a_trend_names_the_last_checkpoint_always(count: int) -> None:
    points = [TrendPoint(f"step-{number}", "PASS", number / 7, 0.1, number == count - 1) for number in range(count)]
    svg = plots.draw_trend(points)
    sound(svg)
    names = [text for text in texts(svg) if text.startswith("step-")]
    assert f"step-{count - 1}" in names
    assert names == list(dict.fromkeys(names))
    assert sum(map(len, names)) * NAME_WIDTH <= WIDTH  # they do not overlap


def test_a_trend_names_this_run_and_both_ends_and_links_every_other_point() -> None:
    points = [TrendPoint(f"s-{place}", "PASS", 0.5, 0.1, place == 4, f"../{place}/report.html") for place in range(9)]
    svg = plots.draw_trend(points, "Trend of chrf", baseline=0.6, edge=0.4)
    sound(svg)
    assert {"s-0", "s-4", "s-8"} <= set(texts(svg))
    assert re.findall(r'href="\.\./(\d)/', svg) == list("01235678")
    assert "<title>Trend of chrf</title>" in svg
    assert 'role="group"' in svg  # a screen reader reaches no link inside an image
    assert 'role="img"' in plots.draw_trend(points[4:5])
    assert "<title>s-3: 0.500, PASS</title>" in svg
    lines = re.findall(r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)" fill="none" stroke="var\(--baseline\)"', svg)
    ((left, high, right, _), (_, low, *_)) = lines
    assert float(left) < float(right)
    assert float(high) < float(low)  # the baseline is above the margin


def test_no_text_is_smaller_than_12_pixels_on_the_smallest_phone() -> None:
    (size,) = re.findall(r'font-size="(\d+)"', plots.draw_distribution(histogram(*MANY), None))
    assert float(size) * (320 - 2 * 16) / WIDTH >= 12


def test_every_outcome_has_a_colour_and_a_shape() -> None:
    outcomes = ("PASS", "FAIL", "INCONCLUSIVE", "INCOMPLETE", None)
    points = [TrendPoint(str(outcome), outcome, 1.0, 0.0, False) for outcome in outcomes]  # type: ignore[arg-type]
    svg = plots.draw_trend(points)
    for colour in ("pass", "fail", "unsure", "muted", "candidate"):
        assert f"var(--{colour})" in svg


def test_a_hostile_name_is_plain_text() -> None:
    svg = plots.draw_trend([TrendPoint(HOSTILE[:16], "PASS", 1.0, 0.1, True)])
    sound(svg)
    assert HOSTILE[:16] in texts(svg)
    sound(
        plots.draw_trend([TrendPoint("$x^2$", "PASS", 1.0, 0.1, True), TrendPoint("$\\bad{", "FAIL", 1.0, 0.1, True)])
    )


def test_the_same_figure_twice_is_the_same_bytes() -> None:
    assert len({plots.draw_distribution(histogram(*MANY), None) for _ in range(2)}) == 1


def test_a_figure_has_no_id_that_another_one_could_have_too() -> None:
    assert "id=" not in plots.draw_distribution(histogram(*MANY), histogram(*MANY[:250]))
    assert "id=" not in plots.draw_trend([TrendPoint("step-1", "PASS", 1.0, 0.1, True)])


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 100, 5, ["0", "20", "40", "60", "80", "100"]),
        (0.83, 0.91, 4, ["0.84", "0.86", "0.88", "0.90"]),
        (-6.4, 0.2, 5, ["\u22126", "\u22124", "\u22122", "0"]),
        (0, 1, 4, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        (4.7e7, 5.3e7, 5, ["4.8e7", "5e7", "5.2e7"]),
        (1000, 9000, 4, ["2,000", "4,000", "6,000", "8,000"]),
        (2e-7, 6e-7, 4, ["2e-7", "3e-7", "4e-7", "5e-7", "6e-7"]),
        (3.0, 3.0, 5, ["3"]),
    ],
)
def test_ticks_are_round_and_distinct(low: float, high: float, most: int, expected: list[str]) -> None:
    texts = write_ticks(nice_ticks(low, high, most))
    assert [text.replace("e\u2212", "e-") for text in texts] == expected


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    low=some.floats(allow_nan=False, allow_infinity=False),
    high=some.floats(allow_nan=False, allow_infinity=False),
    most=some.integers(3, 6),
)
def test_ticks_of_any_range_are_few(low: float, high: float, most: int) -> None:
    ticks = nice_ticks(min(low, high), max(low, high), most)
    assert len(write_ticks(ticks)) == len(ticks) <= most + 1
