"""Command line of `python -m dev.rooms`."""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from dev.checkout import describe_tree, open_tree
from dev.rooms import __doc__ as description
from dev.rooms.imports import read_files
from dev.rooms.order import ORDER
from dev.rooms.picture import draw_svg
from dev.rooms.plan import PROGRAMS, Arrow, Plan, draw_plan


def main() -> None:
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--at", metavar="COMMIT", help="measure this commit instead of the working tree")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--arrows", action="store_true", help="list every arrow with the files that make it")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the rooms into this file")
    arguments = parser.parse_args()
    title = describe_tree(arguments.at)
    with open_tree(arguments.at) as root:
        plan = draw_plan(read_files(root), ORDER)
    if arguments.svg:
        arguments.svg.write_text(draw_svg(plan, f"{title}: {count(plan)}".replace("; ", "\n")))
    if arguments.json:
        print(json.dumps(as_json(plan, title), indent=1))
    else:
        print("\n".join(as_text(plan, title, arguments.arrows)))


def count(plan: Plan) -> str:
    """The figures of the plan in one line."""
    files = [file for room in plan.rooms.values() for file in room]
    return (
        f"{len(plan.rooms)} rooms on {max(plan.floors.values()) + 1} floors, {len(plan.arrows)} arrows,"
        f" {len(plan.upward)} upward, {len(plan.arrows_in_circles())} inside circles;"
        f" circles: {len(plan.circles)} of rooms, {len(plan.file_circles)} of files;"
        f" {len(plan.no_programs)} files at the top that are no programs;"
        f" {len(files)} files, {sum(f.lines for f in files):,} lines, {sum(f.code_lines for f in files):,} of code"
    )


def as_text(plan: Plan, title: str, all_arrows: bool) -> Iterator[str]:
    yield f"{title}: {count(plan)}"
    if plan.unplaced:
        yield f"The order was computed, because dev/rooms/order.py lacks {', '.join(plan.unplaced)}"
    yield f"\n{'room':<24}{'floor':>6}{'files':>7}{'lines':>8}{'code':>8}  imports"
    for room in sorted(plan.rooms, key=lambda name: (-plan.floors[name], name)):
        files = plan.rooms[room]
        lines, code = sum(file.lines for file in files), sum(file.code_lines for file in files)
        targets = ", ".join(sorted(plan.graph()[room], key=lambda name: (-plan.floors[name], name)))
        yield f"{room:<24}{plan.floors[room]:>6}{len(files):>7}{lines:>8,}{code:>8,}  {targets}"
    for heading, arrows in (("Upward arrows", plan.upward), ("All arrows", list(plan.arrows) if all_arrows else [])):
        if arrows:
            yield f"\n{heading}"
        for arrow in arrows:
            yield from _describe_arrow(plan, arrow)
    for heading, circles in (("Circles of rooms", plan.circles), ("Circles of files", plan.file_circles)):
        if circles:
            yield f"\n{heading}"
        for circle in circles:
            yield f"  {len(circle)}: {', '.join(circle)}"
    programs = [file.path.split("/")[-1] for file in plan.rooms.get(PROGRAMS, ()) if file.is_program]
    yield f"\nPrograms at the top of ray_jobs/\n  {', '.join(programs)}"
    if plan.no_programs:
        yield f"\nFiles at the top of ray_jobs/ that are no programs\n  {', '.join(plan.no_programs)}"


def _describe_arrow(plan: Plan, arrow: Arrow) -> Iterator[str]:
    yield f"  {arrow[0]} -> {arrow[1]}"
    imports = defaultdict(list)
    for importing, imported in plan.arrows[arrow]:
        imports[importing].append(imported)
    for importing, files in imports.items():
        yield f"      {importing} -> {', '.join(files)}"


def as_json(plan: Plan, title: str) -> dict[str, object]:
    return {
        "tree": title,
        "order": "computed" if plan.unplaced else "declared",
        "rooms": {
            room: {
                "floor": plan.floors[room],
                "lines": sum(file.lines for file in files),
                "code_lines": sum(file.code_lines for file in files),
                "files": [file.path for file in files],
            }
            for room, files in plan.rooms.items()
        },
        "arrows": [{"from": arrow[0], "to": arrow[1], "files": files} for arrow, files in plan.arrows.items()],
        "upward": plan.upward,
        "inside_circles": plan.arrows_in_circles(),
        "circles": plan.circles,
        "file_circles": plan.file_circles,
        "no_programs": plan.no_programs,
    }


if __name__ == "__main__":
    main()
