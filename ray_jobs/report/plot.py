"""Draw one plot with two linear axes, as an <svg> element. Colours are the page's CSS variables.

`plots` calls this module.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from itertools import pairwise

WIDTH, HEIGHT, FONT = 304.0, 176.0, 13.0  # CSS pixels; on a phone of 320 pixels the text is still 12 pixels high
TICK_WIDTH, NAME_WIDTH = 0.6 * FONT, 0.58 * FONT  # the width of a character in a number, and in a name
NICE = (1, 2, 2.5, 5, 10)
Range = tuple[float, float]
Labels = Sequence[tuple[float, str]]
WriteTicks = Callable[[Sequence[float]], list[str]]


class Plot:
    """A plot with two axes. Shapes are added in data coordinates, and later shapes cover earlier ones.

    `title` is what a screen reader says. `x_labels` are texts below the plot, each at its value, the most important
    first. A text that would overlap an earlier one is left out.
    """

    def __init__(self, title: str, x: Range, y: Range, x_labels: Labels, y_ticks: int, write_y: WriteTicks) -> None:
        ticks = nice_ticks(*y, y_ticks)
        labels = write_y(ticks)
        self._title, self._role = title, "img"  # an image has no links for a screen reader, and a group has
        self._x, self._y = x, y
        self._left = 8 + TICK_WIDTH * max(map(len, labels), default=0)
        self._right, self._top, self._bottom = WIDTH - 5, 8.0, HEIGHT - 22
        self._shapes: list[str] = []
        for tick, label in zip(ticks, labels, strict=True):
            self.draw_line([(x[0], tick), (x[1], tick)], "line", 0.8)
            self._label(label, self._left - 6, self.y_position(tick) + FONT / 3, "end")
        self.draw_line([(x[0], y[0]), (x[1], y[0])], "line", 1)
        taken: list[Range] = []
        for value, text in x_labels:
            half = NAME_WIDTH * len(text) / 2
            middle = max(half, min(self.x_position(value), WIDTH - half))
            if all(middle + half < left or middle - half > right for left, right in taken):
                self._label(text, middle, HEIGHT - 5, "middle")
                taken.append((middle - half - NAME_WIDTH, middle + half + NAME_WIDTH))

    def x_position(self, value: float) -> float:
        return self._left + _position_in(value, self._x) * (self._right - self._left)

    def y_position(self, value: float) -> float:
        return self._bottom - _position_in(value, self._y) * (self._bottom - self._top)

    def draw_bar(self, x: float, width: float, height: float, colour: str) -> None:
        """Add a bar that stands on the axis and is at least one pixel wide."""
        left, right, top = self.x_position(x - width / 2), self.x_position(x + width / 2), self.y_position(height)
        wide = max(right - left, 1.0)
        self._add("rect", colour, f'x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{self._bottom - top:.1f}"')

    def draw_line(self, points: Sequence[tuple[float, float]], colour: str, width: float, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="4 2"' if dashed else ""
        self._shapes.append(
            f'<path d="{self._path(points)}" fill="none" stroke="var(--{colour})" stroke-width="{width}"{dash}/>'
        )

    def draw_area(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        self._add("path", colour, f'd="{self._path(points)}Z" fill-opacity=".35"')

    def draw_marker(self, x: float, y: float, shape: str, radius: float, colour: str) -> None:
        """Add a circle, cross, diamond or square, with an edge that separates it from the shapes below."""
        centre, middle = self.x_position(x), self.y_position(y)
        if shape == "circle":
            self._add("circle", colour, f'cx="{centre:.1f}" cy="{middle:.1f}" r="{radius}" stroke="var(--paper)"')
            return
        path = "M" + "L".join(f"{centre + radius * a:.1f} {middle + radius * b:.1f}" for a, b in SHAPES[shape]) + "Z"
        self._add("path", colour, f'd="{path}" stroke="var(--paper)"')

    def draw_ring(self, x: float, y: float, radius: float, colour: str) -> None:
        place = f'cx="{self.x_position(x):.1f}" cy="{self.y_position(y):.1f}" r="{radius}"'
        self._shapes.append(f'<circle {place} fill="none" stroke="var(--{colour})"/>')

    @contextmanager
    def group(self, title: str, link: str) -> Iterator[None]:
        """All shapes that are drawn inside have a title, which a pointer shows, and a link if it is not empty."""
        tag, self._role = ("a", "group") if link else ("g", self._role)
        self._shapes.append(f'<a href="{escape(link)}">' if link else "<g>")
        self._shapes.append(f"<title>{escape(title)}</title>")
        yield
        self._shapes.append(f"</{tag}>")

    def svg(self) -> str:
        shapes = "\n".join(self._shapes)
        size = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" font-size="{FONT:g}"'
        return f'<svg {size} role="{self._role}">\n<title>{escape(self._title)}</title>\n{shapes}\n</svg>'

    def _path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{self.x_position(x):.1f} {self.y_position(y):.1f}" for x, y in points)

    def _add(self, element: str, colour: str, attributes: str) -> None:
        self._shapes.append(f'<{element} {attributes} fill="var(--{colour})"/>')

    def _label(self, text: str, x: float, y: float, anchor: str, more: str = "") -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}'
        self._shapes.append(f'<text {place} fill="var(--muted)">{escape(text)}</text>')


def _corners(count: int, turn: float) -> list[tuple[float, float]]:
    angles = [2 * math.pi * corner / count + turn for corner in range(count)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


# The corners of each marker of radius 1.
SHAPES = {
    "diamond": [(1.15 * x, 1.15 * y) for x, y in _corners(4, 0)],
    "square": [(1.25 * x, 1.25 * y) for x, y in _corners(4, math.pi / 4)],
    "cross": [(-1, -0.5), (-0.5, -1), (0, -0.5), (0.5, -1), (1, -0.5), (0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5),
              (-0.5, 1), (-1, 0.5), (-0.5, 0)],
}  # fmt: skip


def widen_range(low: float, high: float, by: float) -> Range:
    """The range with `by` times its width added at both ends. A range without width gets a part of its size."""
    room = by * (high - low) or 0.05 * abs(low) or 0.05
    return low - room, high + room


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values within the range, with at most `most` steps between them. Works for every range of floats."""
    rough = high / most - low / most
    if not 0 < rough < math.inf:
        return [low]
    size = 10.0 ** math.floor(math.log10(rough))
    step = next((size * nice for nice in NICE if size * nice >= rough * (1 - 1e-9)), size * 10)
    if not 0 < step < math.inf:
        return [low]
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def write_ticks(ticks: Sequence[float]) -> list[str]:
    """The ticks as short texts that still differ. Very large or small ticks have an exponent and at most six digits."""
    largest = max(map(abs, ticks), default=0.0)
    step = min((after - before for before, after in pairwise(ticks)), default=largest)
    if not step or not 1e-4 <= largest < 1e6 or step < 1e-6:
        digits = min(6, 1 + math.ceil(math.log10(largest / step))) if step > 0 else 3
        texts = [f"{tick:.{max(digits, 1)}g}" for tick in ticks]
    else:
        exponent = math.floor(math.log10(step) + 1e-9)
        places = max(0, -exponent, 1 - exponent if round(step / 10.0**exponent, 6) % 1 else 0)
        texts = [f"{tick:,.{places}f}" for tick in ticks]
    return [text.replace("e+0", "e").replace("e-0", "e-").replace("e+", "e").replace("-", "\u2212") for text in texts]


def _position_in(value: float, within: Range) -> float:
    """The position of the value in the range, from 0 to 1. Uses quarters, so that no difference of floats overflows."""
    low, high = within
    width = high / 4 - low / 4
    return (value / 4 - low / 4) / width if width else 0.5
