"""Plots as inline SVG. Colours are the page's CSS variables, so they follow it into the dark and onto paper."""

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ray_jobs.report.histogram import Histogram, alike
from ray_jobs.report.series import Point

# Matplotlib wants colours it knows; these stand for the variables until the SVG is made.
COLOURS = {
    "#010101": "var(--ink)", "#010102": "var(--muted)", "#010103": "var(--line)", "#010104": "var(--baseline)",
    "#010105": "var(--candidate)", "#010106": "var(--pass)", "#010107": "var(--fail)", "#010108": "var(--unsure)",
    "#010109": "var(--paper)",
}  # fmt: skip
INK, MUTED, LINE, BASELINE, CANDIDATE, PASS, FAIL, UNSURE, PAPER = COLOURS
OUTCOMES = {"PASS": (PASS, "o"), "FAIL": (FAIL, "X"), "INCONCLUSIVE": (UNSURE, "D"), "INCOMPLETE": (MUTED, "s")}
SIZE = (4.4, 2.3)  # inches of 72 points: the width that a phone shows without shrinking the text much
NICE = [1, 2, 2.5, 5, 10]
LABELS = 7  # checkpoints named below a trend


def distribution(candidate: Histogram, baseline: Histogram | None, salt: str) -> str:
    """The share of the images by value: the candidate's filled, over the baseline's as a line. Empty without values."""
    other = baseline or Histogram()
    if not candidate.n:
        return ""
    with _figure(salt) as (figure, axes):
        few = candidate.distinct is not None and (not other.n or other.distinct is not None)
        (_bars if few else _steps)(axes, candidate, other)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=NICE))
        axes.set_ylim(bottom=0)
        return _svg(figure)


def trend(points: Sequence[Point], salt: str) -> str:
    """Mean and 95% interval (1.96 standard errors) of each checkpoint. Empty without points."""
    if not points:
        return ""
    with _figure(salt) as (figure, axes):
        places = np.arange(len(points))
        means = [point.mean for point in points]
        axes.plot(places, means, color=LINE, linewidth=1.2, zorder=1)
        for place, point in zip(places, points, strict=True):
            colour, marker = OUTCOMES.get(point.outcome or "", (CANDIDATE, "o"))
            axes.errorbar(place, point.mean, 1.96 * point.error, color=colour, elinewidth=1.2, zorder=2)
            size = 7.5 if point.own else 5
            axes.plot(place, point.mean, marker, color=colour, markersize=size, markeredgecolor=PAPER, zorder=3)
            if point.own:
                axes.plot(place, point.mean, "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, zorder=3)
        step = max(1, -(-len(points) // LABELS))
        named = list(places[::-1][::step][::-1])  # the last one always
        axes.set_xticks(named, [_short(points[place].checkpoint) for place in named], parse_math=False)
        axes.set_xlim(-0.6, len(points) - 0.4)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=NICE))
        axes.margins(y=0.18)
        if len(named) > 4:
            axes.tick_params(axis="x", rotation=30)
            for label in axes.get_xticklabels():
                label.set_horizontalalignment("right")
        return _svg(figure)


def _bars(axes: Axes, candidate: Histogram, baseline: Histogram) -> None:
    """A pair of bars for each of few values."""
    counted: list[Counter[float]] = [histogram.distinct or Counter() for histogram in (baseline, candidate)]
    found = sorted({*counted[0], *counted[1]})
    apart = float(min(np.diff(found), default=1.0))
    for counts, shift, colour, n in (
        (counted[0], -0.21, BASELINE, baseline.n),
        (counted[1], 0.21 if baseline.n else 0, CANDIDATE, candidate.n),
    ):
        if not n:
            continue
        shares = [counts.get(value, 0) / n for value in found]
        axes.bar([value + shift * apart for value in found], shares, width=0.38 * apart, color=colour)
    room = (0.7 if len(found) > 1 else 1.5) * apart
    axes.set_xlim(found[0] - room, found[-1] + room)
    axes.set_xticks(found if len(found) <= 6 else found[:: -(-len(found) // 6)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")


def _steps(axes: Axes, candidate: Histogram, baseline: Histogram) -> None:
    edges, new, old = alike(candidate, baseline)
    axes.stairs(np.array(new) / candidate.n, edges, fill=True, color=CANDIDATE, alpha=0.35)
    axes.stairs(np.array(new) / candidate.n, edges, color=CANDIDATE, linewidth=1.2)
    if baseline.n:
        axes.stairs(np.array(old) / baseline.n, edges, color=BASELINE, linewidth=1.4)
    for histogram, colour in ((baseline, BASELINE), (candidate, CANDIDATE)):
        if histogram.mean is not None:
            axes.axvline(histogram.mean, color=colour, linewidth=1, linestyle=(0, (4, 2)))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=NICE))


@contextmanager
def _figure(salt: str) -> Iterator[tuple[Figure, Axes]]:
    settings = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9, "axes.unicode_minus": True}
    with mpl.rc_context(settings):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_facecolor("none")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(LINE)
        axes.tick_params(length=0, colors=MUTED, pad=5)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        yield figure, axes


def _svg(figure: Figure) -> str:
    """The figure as an <svg> element with nothing around it that a page does not need."""
    sink = io.StringIO()
    with warnings.catch_warnings():  # the reader's fonts are used, not those that the room for text is measured with
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    svg = sink.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # repeated from figure to figure, and nobody refers to them
    svg = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    svg = re.sub(r"font-family: [^;]*; ", "", svg)
    svg = re.sub(r' d="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), svg)
    for stand_in, variable in COLOURS.items():
        svg = svg.replace(stand_in, variable)
    return re.sub(r"\n\s*", "\n", svg).replace("xlink:href", "href")


def _short(text: str) -> str:
    return text if len(text) <= 16 else f"…{text[-15:]}"
