"""Draws a plan as one SVG: the rooms as boxes on their floors, an arrow from each room to those that it imports.

An arrow that duplicates a longer path is faint. An upward arrow is red. The tooltip of an arrow names its files.
"""

from collections import defaultdict
from xml.sax.saxutils import escape

from dev.rooms.graph import find_shortcuts
from dev.rooms.plan import Arrow, Plan

BOX_HEIGHT, FLOOR_HEIGHT, GAP, MARGIN = 40, 100, 60, 30  # pixels
LETTER = 7.6  # width of a letter of 13 pixels, in pixels
STYLE = (
    "text{font:13px system-ui,sans-serif;text-anchor:middle;fill:#1c2733} .small{font-size:10px;fill:#5b6875}"
    " .title{text-anchor:start} rect{fill:#f3f6fa;stroke:#8fa1b3} path{fill:none;stroke:#5a7184;stroke-width:1.2}"
    " .faint{stroke:#c9d3dc;stroke-width:.7} .upward{stroke:#d22;stroke-width:2} path:hover{stroke:#06c;stroke-width:3}"
)
HEADS = "".join(
    f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto"'
    f' markerUnits="userSpaceOnUse"><path d="M0 0 8 4 0 8z" style="fill:{colour};stroke:none"/></marker>'
    for name, colour in (("plain", "#5a7184"), ("faint", "#c9d3dc"), ("upward", "#d22"))
)
Box = tuple[float, float, float]  # left, top, width


def draw_svg(plan: Plan, title: str) -> str:
    """The text of the SVG file. The title stands below the rooms, and may have several lines."""
    boxes, width, height = _place_boxes(plan)
    lines = title.splitlines()
    bottom = height + 18 * len(lines)
    shortcuts = find_shortcuts(plan.graph(), plan.floors)
    upward = set(plan.upward)
    kinds = {
        arrow: "upward" if arrow in upward else "faint" if arrow in shortcuts else "plain" for arrow in plan.arrows
    }
    paths = [
        _draw_arrow(plan, arrow, kinds[arrow], boxes)
        for arrow in sorted(kinds, key=lambda arrow: ["faint", "plain", "upward"].index(kinds[arrow]))
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {bottom:.0f}">',
            f"<style>{STYLE}</style><defs>{HEADS}</defs>",
            f'<rect width="{width:.0f}" height="{bottom:.0f}" style="fill:#fff;stroke:none"/>',
            *paths,
            *(_draw_box(plan, room, box) for room, box in boxes.items()),
            *(
                f'<text class="title" x="{MARGIN}" y="{height + 18 * index:.0f}">{escape(line)}</text>'
                for index, line in enumerate(lines)
            ),
            "</svg>\n",
        ]
    )


def _place_boxes(plan: Plan) -> tuple[dict[str, Box], float, float]:
    """A box for each room, centred on its floor, and the size of the picture. The ground floor is at the bottom."""
    floors: dict[int, list[str]] = defaultdict(list)
    for room in plan.order:
        floors[plan.floors[room]].append(room)
    widths = {room: max(120.0, len(room) * LETTER + 20) for room in plan.rooms}
    spans = {floor: sum(widths[room] + GAP for room in rooms) - GAP for floor, rooms in floors.items()}
    width = max(*spans.values(), 900) + 2 * MARGIN
    graph = plan.graph()
    centres: dict[str, float] = {}
    boxes: dict[str, Box] = {}
    for floor in sorted(floors):  # from the ground up: each room stands above the middle of those that it imports
        wished = {
            room: sum(centres.get(target, width / 2) for target in graph[room]) / max(1, len(graph[room]))
            for room in floors[floor]
        }
        left = (width - spans[floor]) / 2
        for room in sorted(floors[floor], key=lambda name: (wished[name], name)):
            boxes[room] = (left, MARGIN + (max(floors) - floor) * FLOOR_HEIGHT, widths[room])
            centres[room] = left + widths[room] / 2
            left += widths[room] + GAP
    return boxes, width, MARGIN + len(floors) * FLOOR_HEIGHT - (FLOOR_HEIGHT - BOX_HEIGHT) + 50


def _draw_box(plan: Plan, room: str, box: Box) -> str:
    left, top, width = box
    files = plan.rooms[room]
    lines = sum(file.lines for file in files)
    names = "\n".join(file.path for file in files)
    return (
        f'<g><title>{escape(names)}</title><rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{BOX_HEIGHT}"'
        f' rx="5"/><text x="{left + width / 2:.0f}" y="{top + 17}">{escape(room)}</text><text class="small"'
        f' x="{left + width / 2:.0f}" y="{top + 32}">{_plural(len(files), "file")}, {lines:,} lines</text></g>'
    )


def _draw_arrow(plan: Plan, arrow: Arrow, kind: str, boxes: dict[str, Box]) -> str:
    """A curve from the bottom of the importing room to the top of the imported one.

    An upward arrow goes from top to bottom; between rooms of one floor it is a bow above both.
    """
    (left, top, width), (to_left, to_top, to_width) = boxes[arrow[0]], boxes[arrow[1]]
    down, level = to_top > top, to_top == top
    x, y = left + width / 2, top + (BOX_HEIGHT if down else 0)
    to_x, to_y = to_left + to_width / 2, to_top + (0 if down or level else BOX_HEIGHT)
    bend = (FLOOR_HEIGHT - BOX_HEIGHT) / 2
    leave_y = y + (bend if down else -bend)
    arrive_y = to_y - (bend if down or level else -bend)
    curve = f"M{x:.0f} {y} C{x:.0f} {leave_y:.0f} {to_x:.0f} {arrive_y:.0f} {to_x:.0f} {to_y}"
    names = "\n".join(f"{importing} -> {imported}" for importing, imported in plan.arrows[arrow])
    return (
        f'<path class="{kind}" marker-end="url(#{kind})" d="{curve}"><title>{escape(" -> ".join(arrow))}'
        f"\n{escape(names)}</title></path>"
    )


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
