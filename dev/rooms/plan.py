"""Folds files into rooms, and measures the plan: floors, arrows between rooms, upward arrows, circles, lines.

A room is a folder at the first level of ray_jobs/; in `engine/` each folder at the second level is a room of its own.
Programs at the top of ray_jobs/ are one room, `programs`. A file at the top that is no program is a room of its own,
named with its `.py`. plugins/ and dags/ are one room each.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dev.rooms.graph import find_circles, find_floors, find_order, find_upward
from dev.rooms.imports import SourceFile

PROGRAMS = "programs"
SPLIT = "engine"  # the room whose folders are rooms of their own

Arrow = tuple[str, str]


@dataclass(frozen=True)
class Plan:
    rooms: Mapping[str, Sequence[SourceFile]]
    arrows: Mapping[Arrow, Sequence[Arrow]]  # importing room, imported room -> the same of the files that make it
    order: Sequence[str]  # lowest first
    unplaced: Sequence[str]  # rooms that the declared order lacks; if there are any, `order` was computed
    floors: Mapping[str, int]
    upward: Sequence[Arrow]
    circles: Sequence[Sequence[str]]  # of rooms
    file_circles: Sequence[Sequence[str]]
    no_programs: Sequence[str]  # files at the top of ray_jobs/ that are no programs

    def graph(self) -> dict[str, set[str]]:
        return _graph_of(self.rooms, self.arrows)

    def arrows_in_circles(self) -> list[Arrow]:
        return [arrow for arrow in sorted(self.arrows) if any(set(arrow) <= set(circle) for circle in self.circles)]


def room_of(file: SourceFile) -> str:
    top, *below = file.path.split("/")
    if top != "ray_jobs":
        return top
    if len(below) == 1:
        return PROGRAMS if is_at_its_place(file) else below[0]
    return "/".join(below[:2]) if below[0] == SPLIT and len(below) > 2 else below[0]


def is_at_its_place(file: SourceFile) -> bool:
    """False for a file at the top of ray_jobs/ that is no program."""
    return file.is_program or file.path.count("/") != 1 or file.path.endswith("/__init__.py")


def draw_plan(files: Mapping[str, SourceFile], declared: Sequence[str] = ()) -> Plan:
    """The plan of these files. `declared` is the order of the rooms, lowest first.

    If it lacks a room, the order is computed instead: the one with the fewest upward arrows.
    """
    rooms: dict[str, list[SourceFile]] = defaultdict(list)
    arrows: dict[Arrow, list[Arrow]] = defaultdict(list)
    for file in files.values():
        rooms[room_of(file)].append(file)
        for imported in file.imports:
            arrow = (room_of(file), room_of(files[imported]))
            if arrow[0] != arrow[1]:
                arrows[arrow].append((file.path, imported))
    graph = _graph_of(rooms, arrows)
    unplaced = sorted(set(rooms) - set(declared))
    order = find_order(graph) if unplaced else [room for room in declared if room in rooms]
    return Plan(
        rooms=dict(sorted(rooms.items())),
        arrows=dict(sorted(arrows.items())),
        order=order,
        unplaced=unplaced,
        floors=find_floors(graph, order),
        upward=find_upward(graph, order),
        circles=find_circles(graph),
        file_circles=find_circles({path: file.imports for path, file in files.items()}),
        no_programs=[
            path for path, file in files.items() if path.startswith("ray_jobs/") and not is_at_its_place(file)
        ],
    )


def _graph_of(rooms: Mapping[str, object], arrows: Mapping[Arrow, object]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {room: set() for room in rooms}
    for importing, imported in arrows:
        graph[importing].add(imported)
    return graph
